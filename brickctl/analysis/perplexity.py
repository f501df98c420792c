"""Perplexity: how surprised a model is by text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.tokens import context_length, encode, padded
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase


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
    size = min(window, context_length(model) or window)
    rows = [row for text in texts for row in windows(encode(tokenizer, text), size)]
    count = sum(len(row) - 1 for row in rows)
    if not count:
        raise UsageFault("perplexity needs a text of at least two tokens")
    batches = [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    mean = math.fsum(loss for batch in batches for loss in _losses(model, batch)) / count
    return Perplexity(value=math.exp(mean), tokens=count)


def windows(tokens: Sequence[int], size: int) -> list[list[int]]:
    """`tokens` in rows of at most `size`, each beginning with the last token of the one before; none without a pair."""
    return [list(tokens[first : first + size]) for first in range(0, len(tokens) - 1, size - 1)]


def _losses(model: Any, rows: Sequence[Sequence[int]]) -> list[float]:
    """The summed -ln p of each row's tokens but the first, in nats.

    Only one row at a time is in fp32: with a vocabulary of 150 000, a batch of 8 windows would be 1.2 GB.
    """
    import torch

    ids, mask = padded(rows, side="right")
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask).logits
        return [
            torch.nn.functional.cross_entropy(
                logits[at, : len(row) - 1].float(), ids[at, 1 : len(row)], reduction="sum"
            ).item()
            for at, row in enumerate(rows)
        ]
