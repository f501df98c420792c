"""Which rows of which sources make up a tensor: a table of runs, however long, that nodes name by its digest."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256, json_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Run = tuple[int, int, int]
"""Number of the source, its first row, and how many rows follow one another."""


@dataclass(frozen=True, slots=True)
class RowMap:
    """Rows of several sources, in the order in which they come, as runs of neighbours.

    Two maps are equal if their digests are: a map of 150,000 runs stands in a plan once, and in nodes as 64 digits.
    """

    runs: tuple[Run, ...] = field(compare=False, repr=False)
    digest: Sha256 = field(init=False)
    tops: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        tops = [0]
        for _, _, count in self.runs:
            tops.append(tops[-1] + count)
        object.__setattr__(self, "tops", tuple(tops))
        object.__setattr__(self, "digest", json_digest(self.runs))

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int]]) -> RowMap:
        """The map of single rows, each as source and row; neighbours become runs."""
        runs: list[Run] = []
        for source, row in rows:
            if runs and runs[-1][0] == source and runs[-1][1] + runs[-1][2] == row:
                runs[-1] = (source, runs[-1][1], runs[-1][2] + 1)
            else:
                runs.append((source, row, 1))
        return cls(tuple(runs))

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.tops[-1]

    def is_whole(self, source: int, rows: int) -> bool:
        """Whether it is all rows of a source, in their order."""
        return self.runs == ((source, 0, rows),)

    def between(self, top: int, bottom: int) -> Iterator[Run]:
        """The runs that rows [top, bottom) are made of, cut to them."""
        at = bisect_right(self.tops, top) - 1
        while top < bottom:
            source, first, _ = self.runs[at]
            end = min(bottom, self.tops[at + 1])
            yield source, first + top - self.tops[at], end - top
            top, at = end, at + 1
