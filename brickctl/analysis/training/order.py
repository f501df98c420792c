"""Which examples a step reads: each of them once before any is read again, in an order that a seed decides."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Order:
    """Orders of `count` examples, one after another, cut into batches of `size`.

    What a step reads depends on nothing but the numbers here, so whoever goes on in the middle need not begin anew.
    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.size = size
        self._count = count
        self._seed = seed

    def batch(self, step: int) -> tuple[int, ...]:
        """The numbers of the examples that a step, counted from zero, reads."""
        places = range(step * self.size, (step + 1) * self.size)
        return tuple(_shuffled(self._count, self._seed, at // self._count)[at % self._count] for at in places)

    def total(self, step: int, amounts: Sequence[int]) -> int:
        """What all steps before this one read, where each example has its amount; no step is looked at by itself."""
        turns, rest = divmod(step * self.size, self._count)
        begun = _shuffled(self._count, self._seed, turns)[:rest]
        return turns * sum(amounts) + sum(amounts[at] for at in begun)


@lru_cache(maxsize=4)
def _shuffled(count: int, seed: int, turn: int) -> tuple[int, ...]:
    numbers = list(range(count))
    random.Random(f"{seed}/{turn}").shuffle(numbers)  # noqa: S311 - the same order for the same seed, and no secret
    return tuple(numbers)
