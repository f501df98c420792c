"""Angles by arithmetic alone, against fifty digits, and roots against those that IEEE 754 asks for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import mpmath
import numpy as np
import pytest
import torch

from brickctl.tensors.angles import arc_cosine, sine_of, square_root, square_root_

if TYPE_CHECKING:
    from brickctl.tensors.arrays import Array


def doubles(*values: float) -> Array:
    return np.array(values)


def test_angles_that_everybody_knows() -> None:
    found = arc_cosine(doubles(1.0, 0.5, 0.0, -0.5, -1.0))
    np.testing.assert_allclose(
        found, doubles(0.0, math.pi / 3, math.pi / 2, 2 * math.pi / 3, math.pi), rtol=0, atol=5e-16
    )
    np.testing.assert_allclose(
        sine_of(doubles(0.0, math.pi / 6, math.pi / 2)), doubles(0.0, 0.5, 1.0), rtol=0, atol=2e-16
    )


@pytest.mark.parametrize("distance", [1.0, 1e-3, 1e-8, 1e-15])
def test_the_angle_of_a_cosine_is_right_to_its_last_bits_however_small_it_is(distance: float) -> None:
    cosine = 1.0 - np.random.default_rng(1).random(300) * distance
    with mpmath.workdps(50):
        right = doubles(*(float(mpmath.acos(mpmath.mpf(one))) for one in cosine.tolist()))
        left = doubles(*(float(mpmath.acos(mpmath.mpf(one))) for one in (-cosine).tolist()))
    np.testing.assert_allclose(arc_cosine(cosine), right, rtol=8e-16, atol=0)
    np.testing.assert_allclose(arc_cosine(-cosine), left, rtol=8e-16, atol=0)


@pytest.mark.parametrize("limit", [1e-12, 0.5, math.pi, 20.0])
def test_the_sine_is_right_to_its_last_bits_beyond_pi_too(limit: float) -> None:
    angle = (2.0 * np.random.default_rng(2).random(300) - 1.0) * limit
    with mpmath.workdps(50):
        expected = doubles(*(float(mpmath.sin(mpmath.mpf(one))) for one in angle.tolist()))
    np.testing.assert_allclose(sine_of(angle), expected, rtol=4e-16, atol=min(4e-16 * limit, 2e-15))


def test_a_root_is_the_nearest_number() -> None:
    """One of a hundred of torch's own is not: they come from a vector library that differs between CPUs."""
    values = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert square_root(values).tolist() == [math.sqrt(one) for one in values.tolist()]
    assert math.isnan(square_root(torch.tensor([-1.0], dtype=torch.float64)).item())
    turned = values.reshape(200, 100).T
    assert square_root_(turned.clone()).equal(square_root(turned)), "the one in place, on columns too"


def test_what_is_no_number_stays_none() -> None:
    with np.errstate(invalid="ignore"):
        assert np.isnan(arc_cosine(doubles(math.nan))).all()
        assert np.isnan(sine_of(doubles(math.nan, math.inf))).all()
