"""Consensus against the formula of the TALL masks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.errors import BrickctlError
from brickctl.merging.consensus import Consensus
from tests.support.deltas import merged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

SHAPES = [(48, 31), (700,), (1,), (), (3, 4, 5), (600, 500), (2, 300_000)]


def deltas(shape: tuple[int, ...], count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(shape) + count)
    return [torch.randn(shape, generator=generator) ** 3 * 0.01 for _ in range(count)]


def plain(inputs: Sequence[Tensor], thresholds: Sequence[float], agree: int) -> Tensor:
    """Equations 2 and 3 of the paper: masks from the multi-task vector, then those that enough tasks share."""
    wide = [delta.double() for delta in inputs]
    together = sum(wide[1:], wide[0])
    masks = [delta.abs() >= (together - delta).abs() * at for delta, at in zip(wide, thresholds, strict=True)]
    return torch.where(torch.stack(masks).sum(0) >= agree, together, 0.0)


def test_consensus_of_numbers(tmp_path: Path) -> None:
    """Both use 2 + 3; the first alone uses 8 + 1, as 1 < 0.5 * 8; beside 4 - 2 the sum is small, and both use it."""
    inputs = [torch.tensor([2.0, 8.0, 4.0]), torch.tensor([3.0, 1.0, -2.0])]
    assert merged(tmp_path, Consensus(threshold=0.5), inputs).tolist() == [5.0, 0.0, 2.0]
    assert merged(tmp_path, Consensus(threshold=0.5, agree=1), inputs).tolist() == [5.0, 9.0, 2.0]
    assert merged(tmp_path, Consensus(threshold=0.5, scale=2.0), inputs).tolist() == [10.0, 0.0, 4.0]


def test_weights_belong_to_the_parts_of_the_sum(tmp_path: Path) -> None:
    """0.25 * 8 = 2 and 1 are parts of one size, so both bricks use the entry."""
    inputs = [torch.tensor([8.0]), torch.tensor([1.0])]
    assert merged(tmp_path, Consensus(threshold=0.5), inputs, weights=[0.25, 1.0]).tolist() == [3.0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("agree", [1, 2, 4])
def test_it_is_the_formula(shape: tuple[int, ...], agree: int, tmp_path: Path) -> None:
    inputs, thresholds = deltas(shape), [0.4, 0.2, 0.6, 0.0]
    own = {at: {"threshold": threshold} for at, threshold in enumerate(thresholds)}
    found = merged(tmp_path, Consensus(agree=agree), inputs, settings=own)
    torch.testing.assert_close(found, plain(inputs, thresholds, agree), rtol=1e-14, atol=0)


def test_more_bricks_than_take_part_cannot_agree() -> None:
    assert Consensus(agree=3).refusal([1.0, 1.0, 1.0]) is None
    assert "3 bricks" in (Consensus(agree=3).refusal([1.0, 1.0]) or "")


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 48 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = deltas((900, 700))
    assert torch.equal(
        merged(tmp_path / "a", Consensus(), inputs, **budget), merged(tmp_path / "b", Consensus(), inputs)
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_not_masked_away(value: float, tmp_path: Path) -> None:
    inputs = [torch.tensor([value, 1.0]), torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0])]
    with pytest.raises(BrickctlError, match="NaN or infinity"):
        merged(tmp_path, Consensus(agree=3), inputs)
