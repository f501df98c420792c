"""SCE against its formula, against mergekit, and where it parts from mergekit on purpose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from mergekit.merge_methods.sce import sce_merge

from brickctl.errors import BrickctlError
from brickctl.merging.sce import Sce
from tests.support.deltas import by_mergekit, merged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

SHAPES = [(48, 31), (700,), (1,), (), (3, 4, 5), (600, 500), (2, 300_000)]


def deltas(shape: tuple[int, ...], count: int = 3, size: float = 0.1) -> list[Tensor]:
    """Of different sizes, with entries that nobody changes and some that all change alike."""
    generator = torch.Generator().manual_seed(len(shape) + count)
    found = [torch.randn(shape, generator=generator) * size * (at + 1) for at in range(count)]
    alike = torch.rand(shape, generator=generator)
    changed = [torch.where(alike < 0.2, found[0], delta) for delta in found]
    return [torch.where(alike > 0.8, 0.0, delta) for delta in changed]


def plain(inputs: Sequence[Tensor], share: float, tolerance: float = 1e-6) -> Tensor:
    """Select, calculate, erase, as the paper has it; ties of the selection by index."""
    stacked = torch.stack([delta.double() for delta in inputs])
    if share < 1:
        spread = (stacked - stacked[:1]).var(0, unbiased=False).sqrt().float().reshape(-1)
        varying = int(spread.count_nonzero())
        count = max(math.floor(share * varying), min(varying, math.ceil(share)))
        mask = torch.zeros(spread.shape, dtype=torch.float64)
        mask[torch.sort(spread, descending=True, stable=True).indices[:count]] = 1.0
        stacked = stacked * mask.reshape(stacked.shape[1:])
    energies = stacked.square().reshape(len(inputs), -1).mean(1)
    equal = float(energies.sum()) < tolerance or float(energies.sum()) == 0
    weights = torch.full_like(energies, 1 / len(inputs)) if equal else energies / energies.sum()
    elected = torch.where(stacked.sum(0) >= 0, 1.0, -1.0)
    shares = weights.reshape(-1, *(1 for _ in inputs[0].shape)) * (stacked.sign() == elected)
    return (shares * stacked).sum(0) / torch.where(shares.sum(0) == 0, 1.0, shares.sum(0))


def test_sce_of_numbers(tmp_path: Path) -> None:
    """Mean squares 16 and 4 give the weights 0.8 and 0.2; 4 and 2 agree: 3.6; of 4 and -2 the sum is positive: 4."""
    inputs = [torch.tensor([4.0, 4.0]), torch.tensor([2.0, -2.0])]
    torch.testing.assert_close(merged(tmp_path, Sce(), inputs).tolist(), [3.6, 4.0])


def test_only_what_varies_most_is_selected(tmp_path: Path) -> None:
    """Half of the two entries that vary is the second, which leaves mean squares of 8 and 2."""
    inputs = [torch.tensor([4.0, 4.0]), torch.tensor([2.0, -2.0])]
    assert merged(tmp_path, Sce(select_topk=0.5), inputs).tolist() == [0.0, 4.0]


def test_where_nothing_varies_nothing_is_selected(tmp_path: Path) -> None:
    inputs = [torch.full((5,), 0.1)] * 3
    assert not merged(tmp_path, Sce(select_topk=0.9), inputs).any()
    torch.testing.assert_close(merged(tmp_path, Sce(), inputs), inputs[0].double(), rtol=1e-15, atol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.0, 1e-9, 0.3, 0.99, 1.0])
def test_it_is_the_formula(shape: tuple[int, ...], share: float, tmp_path: Path) -> None:
    inputs = deltas(shape)
    found = merged(tmp_path, Sce(select_topk=share), inputs)
    torch.testing.assert_close(found, plain(inputs, share), rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("size", [0.1, 1e-4])
def test_it_agrees_with_mergekit_where_all_is_selected(shape: tuple[int, ...], size: float, tmp_path: Path) -> None:
    base = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    tuned = [base + delta for delta in deltas(shape, size=size)]
    expected = by_mergekit(sce_merge, base, tuned)
    found = merged(tmp_path, Sce(), [model.double() - base.double() for model in tuned]).add_(base).float()
    assert (found - expected).abs().max() <= 1e-6 * base.abs().max()


@pytest.mark.parametrize("shape", [(48, 31), (700,), (3, 4, 5), (600, 500)], ids=str)
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_it_agrees_with_mergekit_in_what_is_selected(shape: tuple[int, ...], share: float, tmp_path: Path) -> None:
    """In fp64, and in fp32 but for the entry at the limit, which rounding decides."""
    base = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    tuned = [base + delta for delta in deltas(shape)]
    inputs = [model.double() - base.double() for model in tuned]
    found = merged(tmp_path, Sce(select_topk=share), inputs).add_(base)
    exact = by_mergekit(sce_merge, base.double(), [model.double() for model in tuned], select_topk=share)
    assert ((found - exact).abs() > 1e-6 * base.abs().max()).sum() <= 1
    single = by_mergekit(sce_merge, base, tuned, select_topk=share)
    assert ((found.float() - single).abs() > 1e-6 * base.abs().max()).sum() <= 2


def test_short_fine_tunes_weigh_the_same_unless_the_tolerance_is_0(tmp_path: Path) -> None:
    """Mean squares of 4e-8 and 1e-8 are below mergekit's 1e-6, so it takes their mean, 1.5e-4; the paper 1.8e-4."""
    inputs = [torch.tensor([2e-4]), torch.tensor([1e-4])]
    theirs = by_mergekit(sce_merge, torch.zeros(1), inputs)
    assert merged(tmp_path, Sce(), inputs).item() == pytest.approx(1.5e-4) == theirs.item()
    assert merged(tmp_path, Sce(tolerance=0.0), inputs).item() == pytest.approx(1.8e-4)


def test_a_brick_of_little_weight_is_kept_whole_where_it_stands_alone(tmp_path: Path) -> None:
    """Its weight is 1e-8; mergekit divides by 1e-6 where less took part, and leaves a hundredth of its entry."""
    inputs = [torch.tensor([1000.0, 0.0]), torch.tensor([0.0, 0.1])]
    assert merged(tmp_path, Sce(), inputs)[1].item() == pytest.approx(0.1)
    assert by_mergekit(sce_merge, torch.zeros(2), inputs)[1].item() == pytest.approx(0.001, rel=1e-3)


def test_a_small_share_selects_one_entry_and_not_none(tmp_path: Path) -> None:
    """Mergekit rounds 0.3 of 2 entries down to none, and gives the base without a word."""
    inputs = [torch.tensor([4.0, 4.0]), torch.tensor([2.0, -2.0])]
    assert merged(tmp_path, Sce(select_topk=0.3), inputs).tolist() == [0.0, 4.0]
    assert not by_mergekit(sce_merge, torch.zeros(2), inputs, select_topk=0.3).any()


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 96 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs, method = deltas((900, 700)), Sce(select_topk=0.3)
    assert torch.equal(merged(tmp_path / "a", method, inputs, **budget), merged(tmp_path / "b", method, inputs))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_erased(value: float, share: float, tmp_path: Path) -> None:
    inputs = [torch.tensor([value, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])]
    with pytest.raises(BrickctlError, match="NaN or infinity"):
        merged(tmp_path, Sce(select_topk=share), inputs)
