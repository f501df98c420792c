"""Rows of tokens in batches, and whoever watches them go by."""

from __future__ import annotations

from itertools import groupby
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


def alike(rows: Sequence[Sequence[int]], tokens: int) -> Iterator[list[int]]:
    """The numbers of the rows, the shortest first, in lists of one length of at most so many tokens, or of one row.

    So none is padded.
    """
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
    for length, same in groupby(order, key=lambda at: len(rows[at])):
        numbers, most = list(same), max(1, tokens // length)
        yield from (numbers[first : first + most] for first in range(0, len(numbers), most))


def on_device(model: Any, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, both (rows, longest), where the model is; padding comes last."""
    ids, mask = padded(rows, side="right")
    return ids.to(model.device), mask.to(model.device)
