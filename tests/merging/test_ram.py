"""RAM and RAM+ against their formulas, and against mergekit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from mergekit.merge_methods.ram import ram_merge, ramplus_tl_merge

from brickctl.errors import BrickctlError
from brickctl.merging.ram import Ram
from brickctl.merging.ramplus_tl import RamPlusTensorLocal
from tests.support.deltas import by_mergekit, merged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

SHAPES = [(48, 31), (700,), (1,), (), (3, 4, 5), (600, 500), (2, 300_000)]
EPSILON = 0.005


def deltas(shape: tuple[int, ...], count: int = 3) -> list[Tensor]:
    """Sparse ones, of which a third is active at an entry."""
    generator = torch.Generator().manual_seed(len(shape) + count)
    noise = [torch.randn(shape, generator=generator) * 0.01 for _ in range(count)]
    return [delta * (torch.rand(shape, generator=generator) < 0.6) for delta in noise]


def plain(found: Sequence[Tensor], epsilons: Sequence[float], r: float = 0.0, alpha: float = 0.0) -> Tensor:
    """Entry by entry: the unique ones, grown by the overlap of their brick, and the means of the shared ones."""
    wide = [delta.double() for delta in found]
    active = [delta.abs() > epsilon for delta, epsilon in zip(wide, epsilons, strict=True)]
    count = torch.stack(active).sum(0)
    out = torch.zeros_like(wide[0])
    for delta, mask in zip(wide, active, strict=True):
        shared, unique = mask & (count > 1), mask & (count == 1)
        growth = 1 + r * min(max(int(shared.sum()) / max(int(unique.sum()), 1), 0.0), alpha)
        out += torch.where(unique, delta * growth, 0.0) + torch.where(shared, delta / count.clamp(min=1), 0.0)
    return out


def test_ram_of_numbers(tmp_path: Path) -> None:
    """Alone 4 stays; 2 and 6 have the mean 4; what is at most epsilon, on both sides, is 0."""
    inputs = [torch.tensor([4.0, 2.0, 0.5, -0.5]), torch.tensor([0.0, 6.0, 0.25, 0.0])]
    assert merged(tmp_path, Ram(epsilon=0.5), inputs).tolist() == [4.0, 4.0, 0.0, 0.0]


def test_ramplus_of_numbers(tmp_path: Path) -> None:
    """The first brick shares 1 entry and has 2 alone: 1 + 0.5 * 1/2 = 1.25; the second has 1 of 1: 1 + 0.5 * 0.75."""
    inputs = [torch.tensor([4.0, 8.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, 6.0, 8.0])]
    assert merged(tmp_path, RamPlusTensorLocal(r=0.5, alpha=0.75), inputs).tolist() == [5.0, 10.0, 4.0, 11.0]


def test_a_brick_that_has_nothing_alone_grows_nothing(tmp_path: Path) -> None:
    inputs = [torch.tensor([2.0, 0.0]), torch.tensor([6.0, 8.0])]
    assert merged(tmp_path, RamPlusTensorLocal(r=1.0, alpha=9.0), inputs).tolist() == [4.0, 16.0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_are_their_formulas(shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs, epsilons = deltas(shape), [EPSILON, 0.0, 0.02]
    own = {at: {"epsilon": epsilon} for at, epsilon in enumerate(epsilons)}
    ram = merged(tmp_path, Ram(), inputs, settings=own)
    torch.testing.assert_close(ram, plain(inputs, epsilons), rtol=1e-13, atol=1e-16)
    plus = merged(tmp_path, RamPlusTensorLocal(r=0.3, alpha=0.7), inputs, settings=own)
    torch.testing.assert_close(plus, plain(inputs, epsilons, 0.3, 0.7), rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("epsilon", [1e-5, EPSILON])
def test_both_agree_with_mergekit(shape: tuple[int, ...], epsilon: float, tmp_path: Path) -> None:
    base = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    tuned = [base + delta for delta in deltas(shape)]
    inputs = [model.double() - base.double() for model in tuned]
    pairs = [(ram_merge, Ram(epsilon=epsilon)), (ramplus_tl_merge, RamPlusTensorLocal(epsilon=epsilon))]
    for theirs, ours in pairs:
        expected = by_mergekit(theirs, base, tuned, epsilon=epsilon)
        found = merged(tmp_path, ours, inputs).add_(base).float()
        assert (found - expected).abs().max() <= 1e-6 * base.abs().max()


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 48 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs, method = deltas((900, 700)), RamPlusTensorLocal(epsilon=EPSILON)
    assert torch.equal(merged(tmp_path / "a", method, inputs, **budget), merged(tmp_path / "b", method, inputs))


@pytest.mark.parametrize("method", [Ram(), RamPlusTensorLocal()])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_not_taken_for_an_entry_that_did_not_change(
    method: Ram, value: float, tmp_path: Path
) -> None:
    with pytest.raises(BrickctlError, match="NaN or infinity"):
        merged(tmp_path, method, [torch.tensor([value, 1.0]), torch.tensor([1.0, 2.0])])
