"""Sparse tensors: the largest elements by exact count, and where they come to lie, whatever the blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.core.regions import Region
from brickctl.errors import IntegrityFault
from brickctl.tensors.placed import MOST_ELEMENTS, largest_places, placed, run_placed
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = [(1,), (9,), (300_001,), (2, 300_001), (700, 1001), (6, 4, 100), (300_000, 1)]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def made(folder: Path, places: torch.Tensor, values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return evaluated(folder, {"p": places, "v": values}, lambda nodes: placed(nodes["p"], nodes["v"], shape, "w"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_the_largest_come_out_where_they_were_and_nothing_else(
    shape: tuple[int, ...], density: float, tmp_path: Path
) -> None:
    tensor = random(*shape)
    count = max(1, round(density * tensor.numel()))
    places = largest_places(tensor, count)
    found = made(tmp_path, places, tensor.flatten()[places.long()], shape)
    assert int(found.count_nonzero()) == count
    assert torch.equal(found[found != 0], tensor[found != 0])
    assert bool(found[found != 0].abs().min() >= tensor[found == 0].abs().max()) if count < tensor.numel() else True


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_values_may_be_of_any_float(dtype: torch.dtype, tmp_path: Path) -> None:
    found = made(tmp_path, torch.tensor([1, 4], dtype=torch.int32), torch.tensor([0.5, -2.0], dtype=dtype), (2, 3))
    assert found.tolist() == [[0.0, 0.5, 0.0], [0.0, -2.0, 0.0]]


def test_the_last_element_of_the_largest_tensor_has_a_place() -> None:
    """The last row of 2^16 by 2^15: what ends there ends where 32 bits do."""
    places = torch.tensor([[5, MOST_ELEMENTS - 1]], dtype=torch.int32)
    out, last = torch.empty(1, 1 << 15, dtype=torch.float64), Region((1 << 16) - 1, 1 << 16, 0, 1 << 15)
    run_placed([places, torch.tensor([[1.0, 2.0]])], out, {"columns": 1 << 15}, last)
    assert out[0, -1] == 2.0
    assert int(out.count_nonzero()) == 1


def test_of_equal_elements_the_first_are_kept() -> None:
    tensor = torch.tensor([[1.0, -2.0, 2.0], [2.0, 3.0, -2.0]])
    assert largest_places(tensor, 3).tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("places", "said"),
    [([3, 1], "do not ascend"), ([1, 1], "do not ascend"), ([-1, 1], "lie outside"), ([1, 6], "lie outside")],
)
def test_places_that_cannot_be_are_refused(places: list[int], said: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityFault, match=said):
        made(tmp_path, torch.tensor(places, dtype=torch.int32), torch.ones(2), (2, 3))
