"""The first right singular vector of a product of factors, against the decomposition of the whole product."""

from __future__ import annotations

import pytest
import torch

from brickctl.tensors.leading_direction import run_leading_direction


def direction(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    out = torch.empty(1, right.shape[1], dtype=torch.float64)
    run_leading_direction([left, right], [out], {})
    return out[0]


def factors(rows: int, rank: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (rows, rank), (rank, columns)
    left, right = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return left, right


@pytest.mark.parametrize("shape", [(40, 4, 30), (3, 5, 40), (40, 5, 3), (1, 1, 7), (64, 16, 64), (9, 9, 9)])
def test_it_is_that_of_the_whole_product(shape: tuple[int, int, int]) -> None:
    """Also where the rank is larger than a side."""
    left, right = factors(*shape)
    found = direction(left, right)
    wanted = torch.linalg.svd(left @ right).Vh[0]
    assert abs(float(found @ wanted)) == pytest.approx(1.0, abs=1e-12)
    assert float(found[found.abs().argmax()]) > 0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_it_does_not_depend_on_how_large_the_product_is(scale: float) -> None:
    left, right = factors(20, 3, 20)
    torch.testing.assert_close(direction(left * scale, right), direction(left, right), rtol=0, atol=1e-12)


def test_a_factor_and_its_negative_have_one_direction() -> None:
    left, right = factors(20, 3, 20)
    found = direction(left, right)
    for other in (direction(-left, right), direction(left, -right), direction(-left, -right)):
        torch.testing.assert_close(other, found, rtol=0, atol=1e-14)


def test_zeros_have_none() -> None:
    left, right = factors(20, 3, 20)
    assert not direction(0 * left, right).any()
    assert not direction(left, 0 * right).any()


def test_what_is_not_finite_stays_so() -> None:
    """The executor refuses it then, with the name of the file."""
    left, right = factors(20, 3, 20)
    left[0, 0] = float("inf")
    assert bool(direction(left, right).isnan().all())
