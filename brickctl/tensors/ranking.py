"""The key of a rank among the magnitudes of a tensor, exactly, without sorting and without holding it.

A sample of rows says between which two keys (see `magnitudes`) it must lie, with room for how much rows differ. One
scan counts what lies above, and notes the keys between, block by block. Where the sample was misleading, or more lies
between than may be noted, two scans of counting find the same key, and a third one its equals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from brickctl.core.regions import Region
from brickctl.tensors.magnitudes import FIRST_INFINITE, INFINITE, LARGEST_KEY, LOW_BITS, Keys, count_high, count_low
from brickctl.tensors.sorting_out import Bracket, SortedOut, sort_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

    from brickctl.tensors.fused.formula import Terms
    from brickctl.tensors.kernels import Scan

_SAMPLED = 1 << 18
"""Elements of a sample, at most, unless a single row has more."""

_SPARSE = 16
"""A sample is at most this part of a tensor."""

_FEWEST_ROWS = 16
"""So many rows show how much rows differ."""

_COARSE = 8
"""How rows differ is seen beside the rank of every so many columns."""

_DEVIATIONS = 5.0
"""Standard errors between what the sample says and either end of the bracket."""

_NOTED = 1 << 20
"""Keys that are noted, each with its count, at most, of all tensors that are scanned together."""

FIXED = 8 * _NOTED + 16 * _SAMPLED
"""Bytes that a search takes for up to three tensors, beside the keys of a block."""

Rank = Callable[[int, int], int]
"""From the number of elements, and of those that are not 0, the rank that is wanted: 1 is the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How a tensor is scanned: its rows and columns, and how many rows are a block."""

    rows: int
    columns: int
    height: int

    @property
    def elements(self) -> int:
        """Elements of the tensor."""
        return self.rows * self.columns

    @property
    def blocks(self) -> int:
        """Blocks of the tensor."""
        return -(-self.rows // self.height)

    def sample(self) -> Iterator[Region]:
        """A few rows of every block, or of every n-th block."""
        wanted = max(1, _SAMPLED // self.columns)
        rows = max(1, min(wanted // self.blocks, self.height // _SPARSE))
        for top in range(0, self.rows, max(1, self.blocks // wanted) * self.height):
            yield Region(top, min(top + rows, self.rows), 0, self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """The key of a rank.

    Attributes:
        key: of the element.
        quota: how many of the elements with that key have a rank up to the wanted one.
        equals: how many elements with that key each block holds.
    """

    key: int
    quota: int
    equals: list[int]


class Unranked(Enum):
    """Why there is no key of a rank."""

    NONE = "the rank is 0"
    NOT_FINITE = "the tensor holds NaN or infinity"


def ranked(scan: Scan, grid: Grid, ranks: Sequence[Rank]) -> list[Ranked | Unranked]:
    """Find in each tensor that is scanned the key of its rank."""
    brackets = _brackets(scan, grid, ranks)
    noted = _note(scan, brackets)
    found: list[Ranked | Unranked] = []
    for at, (rank, notes) in enumerate(zip(ranks, noted, strict=True)):
        answer = None if notes is None else notes.answer(rank(grid.elements, notes.nonzero))
        found.append(_by_counting(_One(scan, at), grid, rank) if answer is None else answer)
    return found


@dataclass(frozen=True, slots=True)
class _One:
    """A scan of one of several tensors."""

    scan: Scan
    at: int

    def __call__(self, regions: Iterable[Region] | None = None) -> Iterator[tuple[Sequence[Tensor], Region]]:
        for blocks, region in self.scan(regions):
            yield (blocks[self.at],), region

    def totals(self, terms: Terms) -> None:
        del terms

    def sorted_out(self, brackets: Sequence[Bracket | None]) -> None:
        del brackets


def _brackets(scan: Scan, grid: Grid, ranks: Sequence[Rank]) -> list[Bracket | None]:
    """For each tensor two keys between which the wanted one lies, almost surely; None where a sample cannot tell."""
    import numpy as np

    if grid.rows <= grid.height:
        return [(0, LARGEST_KEY) if grid.elements <= _NOTED else None] * len(ranks)
    made = Keys()
    samples: list[list[Any]] = [[] for _ in ranks]
    for blocks, _ in scan(grid.sample()):
        for sample, block in zip(samples, blocks, strict=True):
            sample.append(made.of(block).reshape(-1, grid.columns).copy())
    return [_bracket(np.concatenate(sample), grid, rank) for sample, rank in zip(samples, ranks, strict=True)]


def _bracket(keys: Any, grid: Grid, rank: Rank) -> Bracket | None:
    """The bracket of a sample of rows: as wide as rows differ."""
    import numpy as np

    if len(keys) < _FEWEST_ROWS or int(keys.max()) >= INFINITE:
        return None
    nonzero = round(np.count_nonzero(keys) / keys.size * grid.elements)
    share = rank(grid.elements, nonzero) / grid.elements
    guess = _quantiles(keys[:, ::_COARSE], share)[0]
    shares = np.count_nonzero(keys > guess, axis=1) / grid.columns
    error = math.hypot(np.std(shares, ddof=1) / math.sqrt(len(keys)), math.sqrt(share * (1 - share) / keys.size))
    margin = _DEVIATIONS * error + 2 / keys.size
    low, high = _quantiles(keys, share + margin, share - margin)
    return (0 if share + margin >= 1 else low), (LARGEST_KEY if share <= margin else high)


def _quantiles(keys: Any, *shares: float) -> list[int]:
    """For each share, the key above which no more than this share of the keys lies."""
    import numpy as np

    places = [min(max(0, keys.size - 1 - math.floor(share * keys.size)), keys.size - 1) for share in shares]
    ordered = np.partition(keys, places, axis=None)
    return [int(ordered[place]) for place in places]


@dataclass(slots=True)
class Notes:
    """What one scan found: how many keys lie above the bracket, how many are not 0, and those between, by block."""

    low: int
    high: int
    above: int = 0
    nonzero: int = 0
    finite: bool = True
    keys: list[Any] = field(default_factory=list)
    counts: list[Any] = field(default_factory=list)

    def add(self, found: SortedOut) -> None:
        """Note the keys of the next block."""
        import numpy as np

        self.finite &= found.largest < INFINITE
        self.above += found.above
        self.nonzero += found.nonzero
        different, counts = _tally(found.keys, self.low, self.high)
        self.keys.append(different)
        self.counts.append(counts.astype(np.int32))

    def answer(self, rank: int) -> Ranked | Unranked | None:
        """The key of a rank; None where it does not lie between."""
        if not self.finite:
            return Unranked.NOT_FINITE
        if rank == 0:
            return Unranked.NONE
        count = sum(int(counts.sum()) for counts in self.counts)
        return self._at(rank - self.above) if self.above < rank <= self.above + count else None

    def _at(self, rank: int) -> Ranked:
        """The largest key with so many between from it on; halving takes no memory."""
        low, high = self.low, self.high
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if sum(self._from(middle)) >= rank else (low, middle - 1)
        higher = self._from(low + 1)
        equals = [here - above for here, above in zip(self._from(low), higher, strict=True)]
        return Ranked(key=low, quota=rank - sum(higher), equals=equals)

    def _from(self, key: int) -> list[int]:
        """How many of the elements noted in each block have this key or a larger one."""
        return [
            int(counts[keys.searchsorted(key) :].sum()) for keys, counts in zip(self.keys, self.counts, strict=True)
        ]


def _note(scan: Scan, brackets: Sequence[Bracket | None]) -> list[Notes | None]:
    """Note what lies in the brackets of all tensors; None where there is none, or where that is too much."""
    noted = [None if bracket is None else Notes(*bracket) for bracket in brackets]
    sizes = [0] * len(noted)
    if not any(noted):
        return noted
    for block in scan.sorted_out(brackets) or _block_by_block(scan, brackets):
        for at, (notes, found) in enumerate(zip(noted, block, strict=True)):
            if notes is not None and found is not None:
                notes.add(found)
                sizes[at] += len(notes.keys[-1])
                if sizes[at] > _NOTED // len(noted):
                    noted[at] = None
    return noted


def _block_by_block(scan: Scan, brackets: Sequence[Bracket | None]) -> Iterator[list[SortedOut | None]]:
    made = Keys()
    for blocks, _ in scan():
        yield [
            None if bracket is None else sort_out(made.bits(block), bracket)
            for block, bracket in zip(blocks, brackets, strict=True)
        ]


def _tally(keys: Any, low: int, high: int) -> tuple[Any, Any]:
    """The different keys, ascending, and how often each occurs; counted where they are many in a narrow bracket."""
    import numpy as np

    if high - low > len(keys):
        return np.unique(keys, return_counts=True)
    counts = np.bincount(keys - low)
    places = np.flatnonzero(counts)
    return places.astype(np.int32) + np.int32(low), counts[places]


def _by_counting(scan: Scan, grid: Grid, rank: Rank) -> Ranked | Unranked:
    """Count the upper bits, then the lower ones of one bucket, then the equals in every block."""
    import numpy as np

    high, nonzero = count_high(scan)
    if int(high[FIRST_INFINITE:].sum()):
        return Unranked.NOT_FINITE
    wanted = rank(grid.elements, nonzero)
    if wanted == 0:
        return Unranked.NONE
    bucket, above = _descend(high, wanted)
    low = count_low(scan, [bucket])[bucket]
    place, higher = _descend(low, wanted - above)
    key, made = (bucket << LOW_BITS) + place, Keys()
    equals = [int(np.count_nonzero(made.of(block) == key)) for (block,), _ in scan()]
    return Ranked(key=key, quota=wanted - above - higher, equals=equals)


def _descend(counts: Any, wanted: int) -> tuple[int, int]:
    """The place where the `wanted`-th element from above lies, and how many lie above that place."""
    import numpy as np

    from_above = np.cumsum(counts[::-1])
    step = int(np.searchsorted(from_above, wanted))
    return len(counts) - 1 - step, int(from_above[step]) - int(counts[len(counts) - 1 - step])
