"""Perplexity: how surprised a model is by text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import batches, on_device, unwatched
from brickctl.analysis.tokens import context_length, encode
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.batches import Watch


LARGEST = 700.0
"""A loss in nats that exp still has a number for: models that are broken, or pruned to pieces, go beyond it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """`value` over `tokens` predicted tokens; 1 is certainty, the size of the vocabulary is ignorance."""

    value: float
    tokens: int


def perplexity(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    window: int = 256,
    batch_size: int = 8,
) -> Perplexity:
    """exp(mean over all predicted tokens of -ln p(token | the tokens before it in its window)).

    Each text is cut into windows of `window` tokens (or of the model's context, where that is less). Neighbours share
    one token, so that every token of a text but its first is predicted exactly once, and every token weighs the same.

    Raises:
        UsageFault: no text has two tokens.
    """
    rows = rows_of(model, tokenizer, texts, window=window)
    if not rows:
        raise UsageFault("perplexity needs a text of at least two tokens")
    (loss,) = mean_losses(model, [rows], batch_size=batch_size)
    return Perplexity(value=of_loss(loss), tokens=predicted(rows))


def of_loss(loss: float) -> float:
    """The perplexity of a mean loss in nats a token; infinite where it has no number, NaN where there is no loss."""
    return math.inf if loss > LARGEST else math.exp(loss)


def mean_losses(
    model: Any,
    groups: Sequence[Sequence[Sequence[int]]],
    *,
    given: Sequence[Sequence[int]] | None = None,
    batch_size: int = 8,
    watch: Watch = unwatched,
) -> tuple[float, ...]:
    """For each group of rows the mean over its predicted tokens of -ln p, in nats: what `perplexity` is exp of.

    `given` says, by group and row, how many tokens a row begins with that are not predicted: at least the first one,
    and no more than that where it is None. Rows of two groups share no batch, so that what one group gives does not
    depend, in its last bits, on the others. A group without a predicted token has no loss: NaN.
    """
    if given is None:
        given = [[1] * len(rows) for rows in groups]
    return tuple(_mean_loss(model, *group, batch_size, watch) for group in zip(groups, given, strict=True))


def rows_of(model: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, window: int) -> list[list[int]]:
    """All texts as `windows` of tokens, no longer than the model's context."""
    size = min(window, context_length(model) or window)
    return [row for text in texts for row in windows(encode(tokenizer, text), size)]


def predicted(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens a model predicts of some rows: all but the first of each."""
    return sum(len(row) - 1 for row in rows)


def windows(tokens: Sequence[int], size: int) -> list[list[int]]:
    """`tokens` in rows of at most `size`, each beginning with the last token of the one before; none without a pair."""
    return [list(tokens[first : first + size]) for first in range(0, len(tokens) - 1, size - 1)]


def summed_losses(
    model: Any,
    rows: Sequence[Sequence[int]],
    given: Sequence[int],
    *,
    batch_size: int = 8,
    watch: Watch = unwatched,
) -> list[float]:
    """For each row the sum of -ln p over its predicted tokens, in nats; `given` says of each how many are not."""
    losses = [0.0] * len(rows)
    for batch in batches(rows, batch_size):
        chosen = [rows[at] for at in batch]
        found = _losses(model, chosen, [given[at] for at in batch])
        for at, loss in zip(batch, found, strict=True):
            losses[at] = loss
        watch(sum(map(len, chosen)))
    return losses


def _mean_loss(model: Any, rows: Sequence[Sequence[int]], given: Sequence[int], batch_size: int, watch: Watch) -> float:
    losses = summed_losses(model, rows, given, batch_size=batch_size, watch=watch)
    count = sum(max(0, len(row) - first) for row, first in zip(rows, given, strict=True))
    return math.fsum(losses) / count if count else math.nan


def _losses(model: Any, rows: Sequence[Sequence[int]], given: Sequence[int]) -> list[float]:
    """The summed -ln p of each row's tokens but those that are given, in nats.

    Only one row at a time is in fp32: with a vocabulary of 150 000, a batch of 8 windows would be 1.2 GB.
    """
    import torch

    ids, mask = on_device(model, rows)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask).logits
        return [
            torch.nn.functional.cross_entropy(
                logits[at, first - 1 : len(row) - 1].float(), ids[at, first : len(row)], reduction="sum"
            ).item()
            if first < len(row)
            else 0.0
            for at, (row, first) in enumerate(zip(rows, given, strict=True))
        ]
