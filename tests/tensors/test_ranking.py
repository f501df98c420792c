"""The key of a rank: the same by one scan of a bracket as by counting, and right where a sample misleads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.regions import Region
from brickctl.tensors import ranking
from brickctl.tensors.magnitudes import INFINITE
from brickctl.tensors.ranking import Grid, Ranked, Unranked, ranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

    from brickctl.tensors.sorting_out import Bracket

GRID = Grid(rows=4000, columns=50, height=320)


class Counted:
    """A scan of tensors, and how many places it has visited."""

    def __init__(self, *tensors: Tensor, grid: Grid = GRID) -> None:
        self.tensors, self.grid, self.visited = [tensor.double() for tensor in tensors], grid, 0

    def __call__(self, regions: Iterable[Region] | None = None) -> Iterator[tuple[Sequence[Any], Region]]:
        rows, height = self.grid.rows, self.grid.height
        every = (Region(top, min(top + height, rows), 0, self.grid.columns) for top in range(0, rows, height))
        for region in every if regions is None else regions:
            self.visited += region.elements
            yield [tensor[region.top : region.bottom].clone().numpy() for tensor in self.tensors], region

    def sorted_out(self, brackets: Sequence[Bracket | None]) -> None:
        del brackets


def of_rank(wanted: int) -> ranking.Rank:
    return lambda _elements, _nonzero: wanted


def by_sorting(tensor: Tensor, wanted: int) -> Ranked:
    keys = tensor.float().abs().numpy().view("int32")
    key = int(np.sort(keys, axis=None)[-wanted])
    equals = [int((keys[top : top + GRID.height] == key).sum()) for top in range(0, GRID.rows, GRID.height)]
    return Ranked(key=key, quota=wanted - int((keys > key).sum()), equals=equals)


def random(seed: int) -> Tensor:
    return torch.randn(4000, 50, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("wanted", [1, 2, 1000, 100_000, 199_999, 200_000])
@pytest.mark.parametrize("kind", ["fp32", "bf16", "few values"])
def test_the_key_is_that_of_a_sort(wanted: int, kind: str) -> None:
    tensor = {"fp32": random(1), "bf16": random(2).bfloat16().float(), "few values": random(3).round()}[kind]
    assert ranked(Counted(tensor), GRID, [of_rank(wanted)]) == [by_sorting(tensor, wanted)]


def test_one_scan_and_a_small_sample_are_enough_where_rows_are_alike() -> None:
    scan = Counted(random(4))
    ranked(scan, GRID, [of_rank(100_000)])
    assert scan.visited == 200_000 + 13 * 20 * 50


def test_a_sample_that_misleads_costs_time_and_changes_nothing() -> None:
    tensor = random(5)
    tensor[torch.arange(4000) % 320 < 20] *= 1000  # the very rows that a sample looks at
    scan = Counted(tensor)
    assert ranked(scan, GRID, [of_rank(100_000)]) == [by_sorting(tensor, 100_000)]
    assert scan.visited > 3 * 200_000


def test_more_keys_than_may_be_noted_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_NOTED", 100)
    tensor = random(6)
    assert ranked(Counted(tensor), GRID, [of_rank(70_000)]) == [by_sorting(tensor, 70_000)]


@pytest.mark.parametrize("row", [0, 3999])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_seen_wherever_it_stands(value: float, row: int) -> None:
    tensor = random(7)
    tensor[row, 7] = value
    assert ranked(Counted(tensor), GRID, [of_rank(10)]) == [Unranked.NOT_FINITE]


def test_a_rank_may_depend_on_how_many_are_not_zero_and_be_none() -> None:
    tensor = random(8) * (random(9) > 0)
    half = ranked(Counted(tensor), GRID, [lambda _elements, nonzero: nonzero // 2])
    assert half == [by_sorting(tensor, int(tensor.count_nonzero()) // 2)]
    assert ranked(Counted(tensor), GRID, [of_rank(0)]) == [Unranked.NONE]


def test_several_tensors_are_scanned_together_whatever_each_of_them_needs() -> None:
    usual, misleading, broken = random(10), random(11), random(12)
    misleading[torch.arange(4000) % 320 < 20] *= 1000
    broken[1234, 5] = float("nan")
    scan = Counted(usual, misleading, broken, usual)
    found = ranked(scan, GRID, [of_rank(50_000), of_rank(90_000), of_rank(3), of_rank(0)])
    assert found == [by_sorting(usual, 50_000), by_sorting(misleading, 90_000), Unranked.NOT_FINITE, Unranked.NONE]


@given(st.lists(st.integers(0, INFINITE - 1), min_size=1, max_size=60), st.integers(1, 60))
def test_small_tensors_of_any_keys(keys: list[int], wanted: int) -> None:
    tensor = torch.from_numpy(np.array([keys], dtype=np.int32).view(np.float32))
    grid = Grid(rows=1, columns=len(keys), height=320)
    (found,) = ranked(Counted(tensor, grid=grid), grid, [of_rank(min(wanted, len(keys)))])
    key = sorted(keys)[-min(wanted, len(keys))]
    assert found == Ranked(
        key=key, quota=min(wanted, len(keys)) - sum(other > key for other in keys), equals=[keys.count(key)]
    )
