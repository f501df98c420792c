"""Arcee fusion against its formula, against mergekit, and where it parts from mergekit on purpose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch
from mergekit.merge_methods.arcee_fusion import arcee_fusion_merge_method

from brickctl.errors import BrickctlError
from brickctl.merging.arcee_fusion import ArceeFusion
from tests.support.deltas import by_mergekit, merged

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SHAPES = [(48, 31), (700,), (1,), (), (5, 1), (3, 4, 5), (600, 500), (2, 300_000)]
Quartiles = Literal["lower", "linear"]


def models(shape: tuple[int, ...], size: float = 0.1) -> tuple[Tensor, Tensor]:
    """A base, and a model of which a few rows moved more than the others."""
    generator = torch.Generator().manual_seed(len(shape))
    base = torch.randn(shape, generator=generator)
    moved = torch.rand(shape[:-1], generator=generator).unsqueeze(-1) ** 4 if shape else torch.tensor(1.0)
    return base, base + torch.randn(shape, generator=generator) * size * moved


def importance(base: Tensor, tuned: Tensor) -> Tensor:
    p = torch.softmax(tuned.double(), -1) + 1e-8
    q = torch.softmax(base.double(), -1) + 1e-8
    divergence = (p * (p / q).log()).sum(-1, keepdim=True).clamp(min=0.0)
    return ((tuned.double() - base.double()) * divergence).abs().float().double()


def plain(base: Tensor, tuned: Tensor, quartiles: Quartiles) -> Tensor:
    """Quartiles by torch, over everything."""
    found = importance(base, tuned)
    shares = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    first, median, third = torch.quantile(found.reshape(-1), shares, interpolation=quartiles)
    return (tuned.double() - base.double()) * (found >= median + 1.5 * (third - first))


def fused(folder: Path, base: Tensor, tuned: Tensor, quartiles: Quartiles = "lower", **budget: Any) -> Tensor:
    return merged(folder, ArceeFusion(quartiles=quartiles), [tuned.double() - base.double()], base=base, **budget)


def test_arcee_fusion_of_numbers(tmp_path: Path) -> None:
    """One row, so one divergence: the sizes 1, 2, 3, 4, 9 decide. Quartiles 2, 3, 4 put the limit at 6."""
    base = torch.zeros(5)
    assert fused(tmp_path, base, torch.tensor([1.0, -2.0, 3.0, 4.0, -9.0])).tolist() == [0, 0, 0, 0, -9]


def test_quartiles_between_two_entries_are_the_smaller_or_in_proportion(tmp_path: Path) -> None:
    """Of 1, 2, 4, 8 the quartiles are 1, 2, 4 and the limit 6.5, or 1.75, 3, 5 and 7.875; of 7 in place of 8, 7.5."""
    base, tuned = torch.zeros(4), torch.tensor([1.0, 2.0, 4.0, 7.0])
    assert fused(tmp_path, base, tuned).tolist() == [0, 0, 0, 7]
    assert fused(tmp_path, base, tuned, "linear").tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("quartiles", ["lower", "linear"])
def test_it_is_the_formula(shape: tuple[int, ...], quartiles: Quartiles, tmp_path: Path) -> None:
    base, tuned = models(shape)
    found = fused(tmp_path, base, tuned, quartiles)
    assert torch.equal(found, plain(base, tuned, quartiles))
    assert found.numel() < 100 or 0 < int(found.count_nonzero()) < found.numel() / 2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_agrees_with_mergekit_in_fp64(shape: tuple[int, ...], tmp_path: Path) -> None:
    base, tuned = models(shape)
    expected = by_mergekit(arcee_fusion_merge_method, base.double(), [tuned.double()])
    assert (fused(tmp_path, base, tuned) + base - expected).abs().max() <= 1e-6 * base.abs().max()


def test_in_fp32_mergekit_keeps_other_entries_where_a_tensor_moved_little(tmp_path: Path) -> None:
    """Its divergence of rows that moved by 1e-4 is what rounding leaves of a sum of terms 1e5 times as large."""
    base, tuned = models((48, 310), size=1e-4)
    kept = fused(tmp_path, base, tuned) != 0
    exact = by_mergekit(arcee_fusion_merge_method, base.double(), [tuned.double()]) != base
    single = by_mergekit(arcee_fusion_merge_method, base, [tuned]) != base
    assert torch.equal(kept, exact)
    assert int((kept != single).sum()) > 100


def test_quartiles_of_large_tensors_are_exact_and_of_no_sample(tmp_path: Path) -> None:
    """Mergekit takes those of a million entries drawn at random: two runs keep different entries."""
    base, tuned = models((1100, 1000))
    first, second = (by_mergekit(arcee_fusion_merge_method, base.double(), [tuned.double()]) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(fused(tmp_path, base, tuned), plain(base, tuned, "lower"))


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 96 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    base, tuned = models((900, 700))
    assert torch.equal(fused(tmp_path / "a", base, tuned, **budget), fused(tmp_path / "b", base, tuned))


def test_a_tensor_that_did_not_change_stays(tmp_path: Path) -> None:
    base, _ = models((20, 30))
    assert not fused(tmp_path, base, base).any()


def test_rows_far_apart_have_no_more_than_the_floor(tmp_path: Path) -> None:
    """Differences in a row of more than e^700 are no overflow; p and q never fall below 1e-8."""
    base, tuned = torch.tensor([[0.0, 1e4], [1.0, 2.0]]), torch.tensor([[1e4, 0.0], [1.0, 2.0]])
    assert torch.equal(fused(tmp_path, base, tuned), plain(base, tuned, "lower"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_left_out(value: float, tmp_path: Path) -> None:
    base, tuned = models((4, 5))
    tuned[1, 2] = value
    with pytest.raises(BrickctlError, match="NaN or infinity"):
        fused(tmp_path, base, tuned)
