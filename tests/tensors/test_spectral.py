"""Singular vectors without those that rounding makes up, and those that several matrices have in common."""

from __future__ import annotations

import math

import pytest
import torch

from brickctl.tensors.spectral import _decomposed, common_directions, rows_of, signs, strongest, to_direction

NUMBERS = torch.Generator().manual_seed(1)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=NUMBERS, dtype=torch.float64)


def singular(shape: tuple[int, int], condition: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matrix whose singular values go down from 1 to 1 / condition by equal ratios; its direction, and they."""
    rank = min(shape)
    left, right = (torch.linalg.qr(random(size, rank)).Q for size in shape)
    values = torch.logspace(0, -math.log10(condition), rank, dtype=torch.float64)
    return left * values @ right.T, left @ right.T, values


@pytest.mark.parametrize("shape", [(300, 300), (700, 200), (200, 700)], ids=str)
@pytest.mark.parametrize(
    ("condition", "error"), [(1e1, 1e-13), (1e3, 1e-11), (1e5, 1e-10), (1e6, 1e-9), (1e7, 1e-8)], ids=str
)
def test_directions_of_matrices_whose_gram_matrix_loses_the_small_ones(
    shape: tuple[int, int], condition: float, error: float
) -> None:
    """From condition 1e5 on, LAPACK's singular value decomposition is as far off; 1e8 is negligible by contract."""
    matrix, expected, values = singular(shape, condition)
    found = to_direction(matrix)
    torch.testing.assert_close(found, values, rtol=error, atol=0)
    torch.testing.assert_close(matrix, expected, rtol=0, atol=error)


@pytest.mark.parametrize("shape", [(200, 200), (200, 150), (150, 200)], ids=str)
@pytest.mark.parametrize("condition", [1e1, 1e6])
def test_a_matrix_that_can_be_made_again_gives_up_its_memory_and_no_bit(
    shape: tuple[int, int], condition: float
) -> None:
    matrix, _, _ = singular(shape, condition)
    original, lent, times = matrix.clone(), matrix.clone(), []

    def again() -> None:
        times.append(1)
        lent.copy_(original)

    assert torch.equal(to_direction(lent, again), to_direction(matrix))
    assert torch.equal(lent, matrix)
    assert len(times) == (1 if condition == 1e1 else 3), "once for each decomposition"


@pytest.mark.parametrize("shape", [(9, 7), (7, 9), (300, 200)], ids=str)
def test_a_matrix_of_rank_2_has_two_singular_values(shape: tuple[int, int]) -> None:
    matrix = random(shape[0], 2) @ random(2, shape[1])
    values, vectors = strongest(rows_of(matrix), shape[1])
    assert (values.shape, vectors.shape) == ((2,), (shape[1], 2))
    torch.testing.assert_close(matrix @ vectors @ vectors.T, matrix)
    torch.testing.assert_close(values, torch.linalg.svdvals(matrix)[:2])


def test_the_strongest_directions_are_the_first_ones() -> None:
    matrix, _, values = singular((60, 50), 1e6)
    found, vectors = strongest(rows_of(matrix), 50, 40)
    torch.testing.assert_close(found, values[:40], rtol=1e-9, atol=0)
    torch.testing.assert_close((matrix @ vectors).norm(dim=0), values[:40], rtol=1e-9, atol=0)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(40, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [1e-300, 1e-150, 1e150, 1e300], ids=str)
def test_squares_neither_vanish_nor_overflow(size: float) -> None:
    matrix, expected, values = singular((12, 9), 1e4)
    matrix *= size
    torch.testing.assert_close(to_direction(matrix) / size, values, rtol=1e-9, atol=0)
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-9)


def test_zeros_have_no_direction() -> None:
    zeros = torch.zeros(3, 4, dtype=torch.float64)
    assert len(to_direction(zeros)) == 0
    assert torch.equal(zeros, torch.zeros(3, 4, dtype=torch.float64))


def test_the_direction_of_a_diagonal_matrix_has_the_signs_of_its_entries() -> None:
    """diag(5, -2, 1e-7, 1e-12): 1, -1, 1, and nothing for what is no more than rounding beside 5."""
    matrix = torch.tensor([5.0, -2.0, 1e-7, 1e-12], dtype=torch.float64).diag()
    expected = torch.tensor([1.0, -1.0, 1.0, 0.0], dtype=torch.float64).diag()
    to_direction(matrix)
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("rows", "widths"), [(6, (5, 5, 5)), (20, (5, 5)), (6, (2, 30)), (1, (1,))], ids=str)
def test_common_directions_are_those_of_all_matrices_side_by_side(rows: int, widths: tuple[int, ...]) -> None:
    matrices = [random(rows, width) for width in widths]
    expected = torch.linalg.svd(torch.cat(matrices, dim=1), full_matrices=False).U
    found = common_directions(lambda: matrices, rows, sum(widths))
    torch.testing.assert_close((expected.T @ found).abs(), torch.eye(found.shape[1], dtype=torch.float64))


@pytest.mark.parametrize("size", [1, 2, 300])
def test_eigenvectors_take_the_place_of_the_matrix(size: int) -> None:
    """The bits of torch, which takes a second matrix for them."""
    factor = random(size + 5, size)
    gram = factor.T @ factor
    expected = torch.linalg.eigh(gram.T)
    values, vectors = _decomposed(gram)
    assert vectors.data_ptr() == gram.data_ptr()
    assert torch.equal(values, expected.eigenvalues)
    assert torch.equal(vectors, expected.eigenvectors)


def test_a_sign_makes_the_largest_entry_of_each_column_positive() -> None:
    assert signs(torch.tensor([[1.0, -0.5], [-3.0, 0.2], [2.0, 0.1]])).tolist() == [[-1.0, -1.0]]
