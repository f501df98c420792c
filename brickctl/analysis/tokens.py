"""Texts as rows of token ids, and rows as one padded batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text to go on from: with what the tokenizer puts before a text, without an end after it."""
    tokens: list[int] = list(tokenizer(text)["input_ids"])
    if tokens and tokens[-1] == tokenizer.eos_token_id:
        tokens.pop()
    return tokens


def length(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """How many tokens a text takes by itself, special tokens not counted."""
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def decode(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    """The text of token ids: no special tokens, and no space that the tokenizer would tidy away."""
    text = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)


def padded(rows: Sequence[Sequence[int]], *, side: Literal["left", "right"]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (rows, longest) and a mask of the same shape: 1 on tokens, 0 on padding, whose id (0) is never read."""
    import torch

    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        here = slice(0, len(row)) if side == "right" else slice(ids.shape[1] - len(row), None)
        ids[at, here] = torch.tensor(row, dtype=torch.long)
        mask[at, here] = 1
    return ids, mask


def context_length(model: Any) -> int | None:
    """How many tokens a model reads at once, as its config says; None where it does not."""
    longest = getattr(model.config, "max_position_embeddings", None)
    return longest if isinstance(longest, int) else None
