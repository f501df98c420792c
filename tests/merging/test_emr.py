"""EMR's unified delta against its formula, entry by entry."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.errors import BrickctlError
from brickctl.merging.emr import Emr
from tests.support.merging import merged, random_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

SHAPES = [(6, 5), (700, 400), (2, 300_000), (300_000,), (3, 4, 5), (1,), ()]


def expected(inputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    stacked = torch.stack([weight * tensor.double() for tensor, weight in zip(inputs, weights, strict=True)])
    sign = stacked.sum(dim=0).sign()
    return sign * torch.where(stacked.sign() == sign, stacked.abs(), 0.0).amax(dim=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 40 << 20}], ids=str)
def test_the_largest_of_those_with_the_sign_of_the_sum(
    shape: tuple[int, ...], budget: dict[str, int], tmp_path: Path
) -> None:
    inputs, weights = random_tensors(shape, 3), [1.0, 0.5, -2.0]
    assert torch.equal(merged(tmp_path, Emr(scale=0.5), inputs, weights, **budget), 0.5 * expected(inputs, weights))


def test_four_entries_by_hand(tmp_path: Path) -> None:
    """Sums 6, -2, 0 and 0: 5 wins over 2, -6 alone, and where nobody wins nothing comes out."""
    inputs = [
        torch.tensor([5.0, 4.0, 3.0, 0.0]),
        torch.tensor([2.0, -6.0, -3.0, 0.0]),
        torch.tensor([-1.0, 0.0, 0.0, 0.0]),
    ]
    assert merged(tmp_path, Emr(), inputs).tolist() == [5.0, -6.0, 0.0, 0.0]


def test_a_sum_of_0_gives_0_where_the_published_code_takes_the_negative_entry(tmp_path: Path) -> None:
    inputs = [torch.tensor([3.0, 1e-45]), torch.tensor([-3.0, -1e-45])]
    assert merged(tmp_path, Emr(), inputs).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("values", [(math.nan, 1.0), (math.inf, 1.0), (-math.inf, 1.0), (math.inf, -math.inf)], ids=str)
def test_what_is_no_number_is_refused(values: tuple[float, float], tmp_path: Path) -> None:
    with pytest.raises(BrickctlError, match="NaN or infinity"):
        merged(tmp_path, Emr(), [torch.tensor([1.0, value]) for value in values])
