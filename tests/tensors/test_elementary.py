"""Exponential and logarithm against 40 digits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import mpmath
import pytest
import torch

from brickctl.tensors.elementary import exponential_, logarithm_

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

DIGITS = 40
ULP = 2.0**-52


def numbers(low: float, high: float) -> Tensor:
    return torch.rand(4000, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * (high - low) + low


def worst(found: Tensor, given: Tensor, true: Callable[[float], mpmath.mpf]) -> float:
    """The largest relative error, in units in the last place of 1."""
    with mpmath.workdps(DIGITS):
        pairs = [(mpmath.mpf(one), true(at)) for one, at in zip(found.tolist(), given.tolist(), strict=True)]
        return max(float(abs((one - wanted) / wanted)) if wanted else abs(float(one)) for one, wanted in pairs) / ULP


@pytest.mark.parametrize("low", [-1e-8, -1e-3, -1.0, -40.0, -700.0])
def test_the_exponential_is_within_two_units_in_the_last_place(low: float) -> None:
    given = numbers(low, 0.0)
    assert worst(exponential_(given.clone()), given, mpmath.exp) <= 2


@pytest.mark.parametrize(("low", "high"), [(1 - 1e-8, 1 + 1e-8), (0.9, 1.1), (0.5, 2.0), (1e-8, 1.0), (1.0, 1e8)])
def test_the_logarithm_is_within_two_units_in_the_last_place(low: float, high: float) -> None:
    given = numbers(low, high)
    assert worst(logarithm_(given.clone()), given, mpmath.log) <= 2


def test_exact_values() -> None:
    assert exponential_(torch.tensor([0.0, -0.0], dtype=torch.float64)).tolist() == [1.0, 1.0]
    assert logarithm_(torch.tensor([1.0], dtype=torch.float64)).tolist() == [0.0]


def test_what_is_far_below_is_as_the_lowest_and_nan_stays() -> None:
    found = exponential_(torch.tensor([-1e300, -math.inf, math.nan], dtype=torch.float64)).tolist()
    assert found[0] == found[1] == pytest.approx(math.exp(-700), rel=1e-15)
    assert math.isnan(found[2])
