"""Perplexity: how surprised a model is by text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from brickctl.analysis.checks.check import CheckKind, bar_of, quoted, register
from brickctl.analysis.checks.measured import SHOWN, Measured, Wrong
from brickctl.analysis.examples import text_of
from brickctl.analysis.perplexity import of_loss, predicted, rows_of, summed_losses
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.checks.check import Unit
    from brickctl.analysis.checks.measured import Bar, Good
    from brickctl.core.document import Table

_WINDOW = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity(CheckKind):
    """The exponential of the mean loss a token: 1 is certainty, the size of the vocabulary is ignorance.

    Texts are read in windows of 256 tokens, or of the model's context where that is less. The worst examples are the
    texts with the highest loss a token, in nats.
    """

    unit: ClassVar[Unit] = "perplexity"
    good: ClassVar[Good | None] = "max"
    line: ClassVar[str] = '{"text": "..."}'

    def read_bar(self, table: Table) -> Bar:
        """Read `max`."""
        bar = bar_of(table, "max")
        if bar.value < 1:
            raise table.error(f"{table.named('max')} is at least 1: no model is below it", key="max")
        return bar

    def parse(self, line: Table) -> str:
        """A text."""
        return text_of(line, "text")

    def texts(self, data: Sequence[str]) -> tuple[str, ...]:
        """The texts."""
        return tuple(data)

    def measure(self, model: Any, tokenizer: PreTrainedTokenizerBase, data: Sequence[str]) -> Measured:
        """The perplexity over all predicted tokens, which it counts.

        Raises:
            UsageFault: no text has two tokens.
        """
        rows = [(at, row) for at, text in enumerate(data) for row in rows_of(model, tokenizer, [text], window=_WINDOW)]
        if not rows:
            raise UsageFault("perplexity needs a text of at least two tokens")
        losses = summed_losses(model, [row for _, row in rows], [1] * len(rows))
        tokens = predicted([row for _, row in rows])
        return Measured(
            value=of_loss(math.fsum(losses) / tokens),
            count=tokens,
            worst=_worst(data, [*zip(rows, losses, strict=True)]),
        )

    def told(self, wrong: Wrong) -> str:
        """With the loss."""
        loss = "a loss that is no number" if wrong.nats is None else f"{wrong.nats:.2f} nats a token"
        return f"{loss} in {quoted(wrong.prompt)}"


def _worst(data: Sequence[str], found: Sequence[tuple[tuple[int, list[int]], float]]) -> tuple[Wrong, ...]:
    """The texts with the highest mean loss, before all those whose loss is no number; of equals the first."""
    losses: dict[int, float] = {}
    tokens: dict[int, int] = {}
    for (at, row), loss in found:
        losses[at] = losses.get(at, 0.0) + loss
        tokens[at] = tokens.get(at, 0) + len(row) - 1
    mean = {at: losses[at] / tokens[at] for at in losses}
    known = {at: loss if math.isfinite(loss) else None for at, loss in mean.items()}
    order = sorted(known, key=lambda at: (-math.inf if (loss := known[at]) is None else -loss, at))[:SHOWN]
    return tuple(Wrong(prompt=data[at], wanted="", got="", nats=known[at]) for at in order)


register("perplexity", Perplexity)
