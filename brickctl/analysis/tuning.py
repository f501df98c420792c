"""How well a model completes examples: a smooth loss to search by, and the share that it gets right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.answers import ends_of
from brickctl.analysis.exact_match import exact_match
from brickctl.analysis.perplexity import mean_losses
from brickctl.analysis.tokens import context_length
from brickctl.analysis.training.joining import rows_of
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.analysis.examples import Example
    from brickctl.analysis.load import Loaded
    from brickctl.analysis.rows import Row

BATCH = 8
"""Examples that are read at once: with others a loss has other last bits, so no machine chooses it."""

LONGEST = 256
"""Tokens of a row, where the model reads as many: a text is cut into rows of so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """Examples of one skill as rows of tokens, and those that have a prompt as they are."""

    rows: tuple[Row, ...]
    asked: tuple[Example, ...]


def exercise(loaded: Loaded, examples: Sequence[Example], *, file: str) -> Exercise:
    """The rows of some examples, which `file` holds line by line.

    An answer ends where `exact_match` has it end: at the last line break of its completion, or else where the model
    says so, which then is one more token to predict. A text has no end, as for perplexity.

    Raises:
        UsageFault: an example is longer than the model reads, or nothing of it can be predicted.
    """
    longest = min(LONGEST, context_length(loaded.model) or LONGEST)
    ends = ends_of(loaded.model, loaded.tokenizer)
    ended, plain = (
        rows_of(loaded.tokenizer, examples, longest=longest, end=end, file=file)
        for end in (ends[0] if ends else None, None)
    )
    chosen = zip(examples, ended, plain, strict=True)
    rows = [row for one, with_end, without in chosen for row in (with_end if _is_open(one) else without)]
    if not any(row.predicted for row in rows):
        raise UsageFault(f"`{file}` has nothing to predict", hint="a text needs two tokens at least")
    return Exercise(rows=tuple(rows), asked=tuple(one for one in examples if one.prompt))


def _is_open(example: Example) -> bool:
    """Whether the model has to say itself where its answer ends."""
    return bool(example.prompt) and not example.completion.endswith("\n")


def loss(model: Any, exercise: Exercise) -> float:
    """The mean over all predicted tokens of -ln p, in nats; infinite where the model gives no number."""
    tokens, given = [row.tokens for row in exercise.rows], [row.first for row in exercise.rows]
    (found,) = mean_losses(model, [tokens], given=[given], batch_size=BATCH)
    return math.inf if math.isnan(found) else found


def share_right(loaded: Loaded, exercise: Exercise) -> float | None:
    """The share of greedy answers that are right to the character, in [0, 1]; None where nothing is asked."""
    if not exercise.asked:
        return None
    return exact_match(loaded.model, loaded.tokenizer, exercise.asked).share
