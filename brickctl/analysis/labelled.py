"""Labelled prompts, as JSON lines, and which of them an analysis of so many tokens takes.

A line is `{"text": ..., "label": ...}`, or `{"prompt": ..., "completion": ..., "label": ...}`: then losses are those of
the completion alone, as of a question and its answer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.analysis.examples import parse_lines, text_of
from brickctl.core.document import shown
from brickctl.core.names import is_alias
from brickctl.errors import Place, UsageFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.core.document import Table


FEWEST = 2
"""Tokens of a text of which one can be predicted; the first is left out of functionality scores too."""

_LINE = 'a line is {"text": ..., "label": ...}, or {"prompt": ..., "completion": ..., "label": ...}'


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text, and the one functionality that it needs; `given` is how it begins, where that is not to be predicted."""

    text: str
    label: str
    given: str = ""


def parse_prompts(content: str, *, name: str) -> tuple[Prompt, ...]:
    """The labelled prompts that a file holds, in its order; errors call it `name`.

    Raises:
        UsageFault: a line is no labelled prompt, or its text stands under another label before; its place is named.
    """
    prompts = parse_lines(content, name, parse_prompt)
    refuse_two_labels(prompts, name)
    return prompts


def refuse_two_labels(prompts: Sequence[Prompt], file: str) -> None:
    """Raise UsageFault, with its place, for a line of `file` whose text stands under another label before."""
    first: dict[str, int] = {}
    for number, prompt in enumerate(prompts, start=1):
        before = first.setdefault(prompt.text, number)
        if prompts[before - 1].label != prompt.label:
            cause = f"line {before} has it under `{prompts[before - 1].label}`: an instance has exactly one label"
            place = Place(file=file, line=number)
            raise UsageFault("this text stands under two labels", causes=(cause,), place=place, hint="remove one line")


def labels_of(prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """The labels, each once, in the order in which the file has them."""
    return tuple(dict.fromkeys(prompt.label for prompt in prompts))


def choose(
    prompts: Sequence[Prompt], lengths: Sequence[int], tokens: int, *, seed: int
) -> Mapping[str, tuple[int, ...]]:
    """Which prompts an analysis takes: for each label, in their order, places in `prompts`, ascending.

    Every label gets the same share of the tokens. Its prompts are shuffled, and taken whole until the next one would
    go beyond the share; the first is always taken. So a larger budget takes the same prompts and more, and the choice
    of one label does not depend on the others. A text of one token is never taken: nothing in it is predicted; nor is
    a text again, as it could be both in what neurons are scored by and in what is measured.

    Args:
        prompts: all of them.
        lengths: tokens of each.
        tokens: the budget of all labels together, at least 1.
        seed: of the shuffling.

    Raises:
        UsageFault: a label has no text of two tokens.
    """
    labels = labels_of(prompts)
    return {label: _taken(prompts, lengths, label, tokens // len(labels), seed) for label in labels}


def _taken(prompts: Sequence[Prompt], lengths: Sequence[int], label: str, share: int, seed: int) -> tuple[int, ...]:
    places = [at for at, prompt in enumerate(prompts) if prompt.label == label and lengths[at] >= FEWEST]
    first = {prompts[at].text: at for at in reversed(places)}
    mine = [at for at in places if first[prompts[at].text] == at]
    if not mine:
        raise UsageFault(f"label `{label}` has no text of two tokens, so nothing in it is predicted")
    random.Random(f"{seed} {label}").shuffle(mine)  # noqa: S311 - a choice of prompts, not a secret
    total = 0
    for count, at in enumerate(mine):
        total += lengths[at]
        if count and total > share:
            return tuple(sorted(mine[:count]))
    return tuple(sorted(mine))


def parse_prompt(line: Table) -> Prompt:
    """The labelled prompt that a line of a file is."""
    label = text_of(line, "label")
    if not is_alias(label):
        hint = "a lower-case letter, then letters, digits, `_` and `-`: such as `french` or `code-python`"
        raise line.error(f"`{shown(label)}` is no label", key="label", hint=hint)
    if line.has("text"):
        return Prompt(text_of(line, "text"), label)
    if not line.has("prompt"):
        raise line.error("`text` is missing", hint=_LINE)
    given = text_of(line, "prompt")
    return Prompt(given + text_of(line, "completion"), label, given)
