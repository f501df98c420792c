"""The best products of small factors, against LAPACK's singular values: exact ones, and those of a range finder."""

from __future__ import annotations

import pytest
import torch

from brickctl.tensors.truncation import Factors, of_energy, of_rank, residual

NUMBERS = torch.Generator().manual_seed(3)
SMALL = [(40, 30), (30, 40), (50, 50)]
LARGE = [(500, 300), (300, 500)]
"""Shapes of which few ranks are taken by a range finder, as is shown below."""


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=NUMBERS, dtype=torch.float64)


def decaying(shape: tuple[int, int]) -> torch.Tensor:
    """A matrix whose singular values fall as 1 / j."""
    left, right = (torch.linalg.qr(random(size, min(shape))).Q for size in shape)
    return left / torch.arange(1, min(shape) + 1, dtype=torch.float64) @ right.T


def error(matrix: torch.Tensor, found: Factors) -> float:
    return float(torch.linalg.norm(matrix - found.left @ found.right))


def least_error(matrix: torch.Tensor, rank: int) -> float:
    return float(torch.linalg.svdvals(matrix)[rank:].square().sum().sqrt())


@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.parametrize("rank", [1, 7, 29])
def test_small_matrices_have_the_least_error_of_all_ranks(shape: tuple[int, int], rank: int) -> None:
    matrix = decaying(shape)
    found = of_rank(matrix, rank)
    assert found.rank == rank
    assert error(matrix, found) == pytest.approx(least_error(matrix, rank), rel=1e-9)


@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("rank", [8, 16])
def test_a_range_finder_comes_within_a_thousandth_of_the_least_error(shape: tuple[int, int], rank: int) -> None:
    matrix = decaying(shape)
    found, least = of_rank(matrix, rank), least_error(matrix, rank)
    assert found.rank == rank
    assert least < error(matrix, found) <= 1.001 * least
    assert error(matrix, found) > least * (1 + 1e-12), "it is not the exact one: this shape tests a range finder"


def test_noise_without_any_direction_is_found_within_a_hundredth() -> None:
    """The hardest case: singular values that lie so close to one another that none stands out."""
    matrix = random(500, 400)
    assert error(matrix, of_rank(matrix, 16)) <= 1.01 * least_error(matrix, 16)


@pytest.mark.parametrize("shape", [*SMALL, *LARGE], ids=str)
def test_a_matrix_of_rank_3_has_three_directions_and_no_error(shape: tuple[int, int]) -> None:
    matrix = random(shape[0], 3) @ random(3, shape[1])
    found = of_rank(matrix, 16)
    assert found.rank == 3
    assert error(matrix, found) < 1e-12 * float(torch.linalg.norm(matrix))


@pytest.mark.parametrize("shape", [*SMALL, *LARGE], ids=str)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_an_energy_is_reached_by_the_smallest_rank_that_holds_it(shape: tuple[int, int], share: float) -> None:
    matrix = decaying(shape)
    energies = torch.linalg.svdvals(matrix).square()
    smallest = int((energies.cumsum(0) < share * energies.sum()).sum()) + 1
    found = of_energy(matrix, share)
    assert found.rank == smallest
    assert error(matrix, found) ** 2 <= (1 - share) * float(energies.sum())


def test_all_of_the_energy_needs_all_directions() -> None:
    matrix = random(30, 20)
    found = of_energy(matrix, 1.0)
    assert found.rank == 20
    assert error(matrix, found) < 1e-12 * float(torch.linalg.norm(matrix))


@pytest.mark.parametrize("shape", [(40, 30), (500, 300)], ids=str)
def test_factors_share_the_singular_values_and_have_the_signs_that_are_said(shape: tuple[int, int]) -> None:
    found = of_rank(decaying(shape), 8)
    torch.testing.assert_close(found.left.norm(dim=0), found.right.norm(dim=1), rtol=1e-9, atol=0)
    assert bool((found.left.gather(0, found.left.abs().argmax(dim=0, keepdim=True)) > 0).all())
    torch.testing.assert_close(found.energies[:8], 1 / torch.arange(1, 9, dtype=torch.float64) ** 2, rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", [(40, 30), (500, 300)], ids=str)
def test_the_same_matrix_has_the_same_factors(shape: tuple[int, int]) -> None:
    matrix = decaying(shape)
    first, second = of_rank(matrix, 8), of_rank(matrix.clone(), 8)
    assert torch.equal(first.left, second.left)
    assert torch.equal(first.right, second.right)


def test_the_error_is_that_of_the_factors_as_they_are_stored() -> None:
    """500 by 700 is more than one block."""
    matrix = decaying((500, 700))
    found = of_rank(matrix, 8)
    left, right = found.left.bfloat16(), found.right.bfloat16()
    stored = torch.linalg.norm(matrix - left.double() @ right.double())
    assert residual(matrix, left, right) == pytest.approx(float(stored), rel=1e-12)
    assert residual(matrix, left, right) > error(matrix, found)
