"""Which examples a training never reads, so that what they show was learnt and not read."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.analysis.examples import Example

SHARE = 10
"""One in so many is held out, unless somebody says how many."""

_MOST = 64


def usual_count(examples: Sequence[Example]) -> int:
    """How many are held out where nobody says it: a tenth, and no more than what is measured in a short time."""
    return min(_MOST, len(examples) // SHARE)


def set_apart(examples: Sequence[Example], count: int, seed: int) -> tuple[int, ...]:
    """The numbers of `count` examples or a few more, ascending: an example that stands there twice is held out twice.

    Which these are depends on the seed, and on the order of the examples.
    """
    numbers: dict[Example, list[int]] = {}
    for number, example in enumerate(examples):
        numbers.setdefault(example, []).append(number)
    alike = list(numbers.values())
    random.Random(f"{seed}/held-out").shuffle(alike)  # noqa: S311 - the same ones for the same seed, and no secret
    held: list[int] = []
    for same in alike:
        if len(held) >= count:
            break
        held += same
    return tuple(sorted(held))
