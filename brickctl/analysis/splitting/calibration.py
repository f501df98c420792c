"""Text that neurons are heard on: JSON lines `{"text": ...}`, or labelled prompts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.corpus import encoded
from brickctl.analysis.examples import parse_lines, text_of
from brickctl.analysis.instances import Instances
from brickctl.analysis.labelled import Prompt, choose, parse_prompt, refuse_two_labels
from brickctl.analysis.perplexity import rows_of
from brickctl.analysis.tokens import context_length, length
from brickctl.errors import Place, UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.analysis.load import Loaded
    from brickctl.core.document import Table

    Rows = Sequence[Sequence[int]]

WINDOW, LONGEST = 256, 512
"""Tokens of a row, of text and of labelled prompts, or the model's context where that is less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Rows of tokens: those of each label, or of all text where there are none, and then no instances either."""

    labels: tuple[str, ...]
    texts: tuple[Rows, ...]
    instances: Instances | None

    @property
    def rows(self) -> Rows:
        """All of them, one label after the other."""
        return [row for rows in self.texts for row in rows]

    def rows_for(self, name: str) -> Rows:
        """Those of the label that is called so, or all of them where there is none."""
        return self.texts[self.labels.index(name)] if name in self.labels else self.rows

    @property
    def tokens(self) -> int:
        """How many tokens they have."""
        return sum(map(len, self.rows))


def parse_calibration(content: str, *, name: str) -> tuple[str, ...] | tuple[Prompt, ...]:
    """The texts of a file that errors call `name`, or its labelled prompts if any line has a label.

    Raises:
        UsageFault: a line is something else; its place is named.
    """
    read = parse_lines(content, name, _line)
    prompts = tuple(one for one in read if isinstance(one, Prompt))
    if not prompts:
        return tuple(one for one in read if isinstance(one, str))
    if len(prompts) < len(read):
        line = next(at for at, one in enumerate(read, start=1) if isinstance(one, str))
        hint = "give one to every line, or to none"
        raise UsageFault("this line has no label, and others have", place=Place(file=name, line=line), hint=hint)
    refuse_two_labels(prompts, name)
    return prompts


def calibrate(loaded: Loaded, texts: tuple[str, ...] | tuple[Prompt, ...], *, tokens: int, seed: int) -> Calibration:
    """Rows of about so many tokens, which the seed chooses; every label gets the same share of them.

    A labelled prompt is one row, cut to its first tokens. Other text is cut into windows, as for perplexity.

    Raises:
        UsageFault: no text has two tokens, or there is one label only.
    """
    prompts = [one for one in texts if isinstance(one, Prompt)]
    if prompts:
        return _labelled(loaded, prompts, tokens, seed)
    plain = [one for one in texts if isinstance(one, str)]
    rows = rows_of(loaded.model, loaded.tokenizer, plain, window=WINDOW)
    if not rows:
        raise UsageFault("no text has two tokens")
    random.Random(seed).shuffle(rows)  # noqa: S311 - a choice of rows, not a secret
    return Calibration(labels=(), texts=(_until(rows, tokens),), instances=None)


def _labelled(loaded: Loaded, prompts: Sequence[Prompt], tokens: int, seed: int) -> Calibration:
    lengths = [length(loaded.tokenizer, prompt.text) for prompt in prompts]
    taken = choose(prompts, lengths, tokens, seed=seed)
    if len(taken) < 2:  # noqa: PLR2004 - one against another
        hint = "leave `label` out of every line, or add lines with another label"
        raise UsageFault("functionalities are told apart by at least two labels", hint=hint)
    chosen = [prompts[at] for places in taken.values() for at in places]
    longest = min(LONGEST, context_length(loaded.model) or LONGEST)
    instances = Instances(
        labels=tuple(taken),
        rows=tuple(row.tokens for row in encoded(loaded.tokenizer, chosen, longest)),
        labels_of=tuple(number for number, places in enumerate(taken.values()) for _ in places),
    )
    texts = tuple(
        [row for row, own in zip(instances.rows, instances.labels_of, strict=True) if own == label]
        for label in range(len(instances.labels))
    )
    return Calibration(labels=instances.labels, texts=texts, instances=instances)


def _until(rows: Rows, tokens: int) -> Rows:
    """The first rows, up to the one with which there are so many tokens."""
    total, taken = 0, list[Any]()
    for row in rows:
        if total >= tokens:
            break
        taken.append(row)
        total += len(row)
    return taken


def _line(line: Table) -> str | Prompt:
    return parse_prompt(line) if line.has("label") else text_of(line, "text")
