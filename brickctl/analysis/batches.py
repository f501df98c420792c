"""Rows of tokens in batches, and whoever watches them go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.analysis.tokens import padded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    Watch = Callable[[int], None]


def unwatched(tokens: int) -> None:
    """A `Watch`, which hears how many more tokens a model has read, that does nothing about it."""


def batches(rows: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """The numbers of the rows in lists of at most `size`: rows of like length share one, for little padding."""
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
    return (order[first : first + size] for first in range(0, len(order), size))


def on_device(model: Any, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, both (rows, longest), where the model is; padding comes last."""
    ids, mask = padded(rows, side="right")
    return ids.to(model.device), mask.to(model.device)
