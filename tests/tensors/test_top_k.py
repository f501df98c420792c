"""The k largest elements, against a stable sort: ties go by index, whatever the blocks, threads and budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brickctl.errors import BrickctlError
from brickctl.tensors.magnitudes import value_of
from brickctl.tensors.top_k import _edge, keep_largest, largest
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SHAPES = [(1500, 700), (3, 300_000), (700_000,), (5, 7, 9), (1,), ()]
TENSORS = {
    "random": lambda shape: torch.randn(shape, generator=torch.Generator().manual_seed(1)),
    "bf16": lambda shape: torch.randn(shape, generator=torch.Generator().manual_seed(2)).bfloat16(),
    "few values": lambda shape: torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(3)).float(),
    "all equal": lambda shape: torch.full(shape, -0.5),
    "denormal": lambda shape: torch.randn(shape, generator=torch.Generator().manual_seed(4)) * 1e-41,
    "zeros": torch.zeros,
}


def expected(tensor: Tensor, count: int) -> Tensor:
    """By a stable sort of magnitudes."""
    flat = tensor.reshape(-1)
    kept = torch.zeros_like(flat)
    places = torch.sort(flat.abs(), descending=True, stable=True).indices[:count]
    kept[places] = flat[places]
    return kept.reshape(tensor.shape)


@pytest.mark.parametrize("values", TENSORS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.0, 1e-6, 0.3, 0.5, 0.999, 1.0])
def test_the_largest_are_those_of_a_stable_sort(
    values: str, shape: tuple[int, ...], share: float, tmp_path: Path
) -> None:
    tensor = TENSORS[values](shape)
    count = max(1, math.floor(share * tensor.numel()))
    found = evaluated(tmp_path, {"x": tensor}, lambda nodes: keep_largest(nodes["x"], count))
    assert torch.equal(found, expected(tensor, count).double())


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 24 << 20}], ids=str)
def test_no_budget_changes_which_ties_are_kept(budget: dict[str, int], tmp_path: Path) -> None:
    tensor = TENSORS["few values"]((1500, 700))
    found = evaluated(tmp_path, {"x": tensor}, lambda nodes: keep_largest(nodes["x"], 300_001), **budget)
    assert torch.equal(found, expected(tensor, 300_001).double())


def test_the_mask_is_one_where_something_is_kept(tmp_path: Path) -> None:
    tensor = TENSORS["few values"]((1500, 700))
    found = evaluated(tmp_path, {"x": tensor}, lambda nodes: largest(nodes["x"], 300_001))
    assert torch.equal(found, (expected(tensor, 300_001) != 0).double())
    assert int(found.sum()) == 300_001


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_holds_no_numbers_is_refused_and_not_passed_over(value: float, tmp_path: Path) -> None:
    tensor = torch.ones(100, 10)
    tensor[3, 4] = value
    with pytest.raises(BrickctlError, match="NaN or infinity"):
        evaluated(tmp_path, {"x": tensor}, lambda nodes: keep_largest(nodes["x"], 10))


@given(st.integers(1, 0x7F7FFFFF), st.integers(-3, 3))
def test_an_edge_divides_the_doubles_that_round_to_a_key_from_those_below(key: int, step: int) -> None:
    edge = _edge(key)
    assert torch.tensor(edge, dtype=torch.float64).float().item() < value_of(key)
    assert torch.tensor(math.nextafter(edge, math.inf), dtype=torch.float64).float().item() == value_of(key)
    near = edge * (1 + step * 2**-52)
    rounded = torch.tensor(near, dtype=torch.float64).float().item()
    assert (near > edge) == (rounded >= value_of(key))
