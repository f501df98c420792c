"""Cues: prompts that are for one expert of a mixture, or just not for it, as JSON lines.

A line is `{"text": ..., "label": ...}` or `{"prompt": ..., "completion": ..., "label": ...}`, where the label is the
alias of the expert; with `"negative": true` it is what the expert is not for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.analysis.corpus import encoded
from brickctl.analysis.examples import parse_lines
from brickctl.analysis.labelled import Prompt, parse_prompt
from brickctl.errors import Place, UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.core.document import Table

LONGEST = 512
"""Tokens of a cue that are read, or the model's context where that is less."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A prompt, and whether its label names whom it is not for."""

    prompt: Prompt
    negative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cues:
    """All of them, as token ids.

    Attributes:
        labels: aliases of experts, in the order in which the file has them.
        rows: token ids of each cue.
        last: of each the place of the last token that is given: of a prompt with a completion that of the prompt.
        label: of each the number of its label.
        negative: of each whether it is not for its label.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    last: tuple[int, ...]
    label: tuple[int, ...]
    negative: tuple[bool, ...]

    @property
    def tokens(self) -> int:
        """How many tokens they have."""
        return sum(map(len, self.rows))

    @property
    def positive(self) -> tuple[int, ...]:
        """The numbers of those that are for their label."""
        return tuple(at for at, negative in enumerate(self.negative) if not negative)


def parse_cues(content: str, *, name: str) -> tuple[Cue, ...]:
    """The cues that a file holds, in its order; errors call it `name`.

    Raises:
        UsageFault: a line is no cue, or a label has only negative ones; its place is named.
    """
    cues = parse_lines(content, name, _cue)
    wanted = {cue.prompt.label for cue in cues if not cue.negative}
    for number, cue in enumerate(cues, start=1):
        if cue.prompt.label not in wanted:
            hint = "add a line with this label and without `negative`: what the expert is for"
            place = Place(file=name, line=number)
            raise UsageFault(f"`{cue.prompt.label}` has negative prompts only", place=place, hint=hint)
    return cues


def refuse_for_centroids(cues: Sequence[Cue], *, name: str) -> None:
    """Make sure that the cues of a file `name` can be told apart by centroids, before any model reads them.

    Raises:
        UsageFault: there is one label only, or there are negative cues; the first is named.
    """
    if len({cue.prompt.label for cue in cues}) < 2:  # noqa: PLR2004 - one against another
        hint = "add lines for the other experts; the base can be one of them"
        raise UsageFault("centroids are told apart by at least two labels", place=Place(file=name), hint=hint)
    line = next((number for number, cue in enumerate(cues, start=1) if cue.negative), None)
    if line is not None:
        message = "centroids have no use for negative prompts: each is apart from all others"
        hint = 'leave them out, or write method = "hidden"'
        raise UsageFault(message, place=Place(file=name, line=line), hint=hint)


def encode_cues(tokenizer: PreTrainedTokenizerBase, cues: Sequence[Cue], *, name: str, longest: int = LONGEST) -> Cues:
    """The first `longest` tokens of every cue of the file `name`.

    Raises:
        UsageFault: a text has no token; its place is named.
    """
    found = encoded(tokenizer, [cue.prompt for cue in cues], longest)
    empty = next((number for number, row in enumerate(found, start=1) if not row.tokens), None)
    if empty is not None:
        raise UsageFault("the model's tokenizer makes no token of this text", place=Place(file=name, line=empty))
    labels = tuple(dict.fromkeys(cue.prompt.label for cue in cues))
    return Cues(
        labels=labels,
        rows=tuple(row.tokens for row in found),
        last=tuple(
            min(row.given if cue.prompt.given else len(row.tokens), len(row.tokens)) - 1
            for cue, row in zip(cues, found, strict=True)
        ),
        label=tuple(labels.index(cue.prompt.label) for cue in cues),
        negative=tuple(cue.negative for cue in cues),
    )


def _cue(line: Table) -> Cue:
    negative = line.boolean_or_none("negative") or False
    return Cue(parse_prompt(line), negative)
