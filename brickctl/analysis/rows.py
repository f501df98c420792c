"""Rows of tokens that a model reads one at a time, of which a budget is taken by chance."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.perplexity import windows
from brickctl.analysis.tokens import context_length, encode
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.examples import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Token ids, of which those from number `first` on are what the model is to predict; `first` is at least 1."""

    tokens: tuple[int, ...]
    first: int

    @property
    def predicted(self) -> int:
        """How many tokens the model is to predict."""
        return len(self.tokens) - self.first


def rows_of(
    model: Any, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, window: int, tokens: int, seed: int
) -> tuple[Row, ...]:
    """Rows of the examples in an order that the seed decides, until `tokens` are there; the last row may exceed them.

    A text is cut into windows of `window` tokens, as for perplexity, each a row. A prompt with its completion is one
    row, of which only the completion is to be predicted.

    Raises:
        UsageFault: a prompt with its completion is longer than the model's context, or no row has a token to predict.
    """
    longest = context_length(model)
    size = min(window, longest or window)
    found = [row for example in examples for row in _rows(tokenizer, example, size)]
    needed = max((len(row.tokens) for row in found), default=0)
    if longest is not None and needed > longest:
        raise UsageFault(f"an example needs {needed} tokens; the model reads at most {longest}")
    if not found:
        raise UsageFault("no example has a token to predict: a text needs two tokens at least")
    random.Random(seed).shuffle(found)  # noqa: S311 - the same rows for the same seed, and no secret
    return tuple(rows_within(found, tokens))


def _rows(tokenizer: PreTrainedTokenizerBase, example: Example, size: int) -> Iterator[Row]:
    prompt = encode(tokenizer, example.prompt or example.completion)
    if not example.prompt:
        yield from (Row(tokens=tuple(row), first=1) for row in windows(prompt, size))
        return
    completion = tokenizer(example.completion, add_special_tokens=False)["input_ids"]
    if prompt and completion:
        yield Row(tokens=(*prompt, *completion), first=len(prompt))


def rows_within(rows: Sequence[Row], tokens: int) -> Iterator[Row]:
    """The first rows until so many tokens are there, which the last row may exceed."""
    for row in rows:
        if tokens <= 0:
            return
        tokens -= len(row.tokens)
        yield row
