"""Singular vectors without those that rounding makes up, and those that several matrices have in common."""

from __future__ import annotations

import pytest
import torch

from brickctl.tensors.spectral import common_directions, direction, factors, signs

NUMBERS = torch.Generator().manual_seed(1)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=NUMBERS, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(9, 7), (7, 9)], ids=str)
def test_a_matrix_of_rank_2_has_two_singular_values(shape: tuple[int, int]) -> None:
    matrix = random(shape[0], 2) @ random(2, shape[1])
    left, values, right = factors(matrix)
    assert (left.shape, values.shape, right.shape) == ((shape[0], 2), (2,), (2, shape[1]))
    torch.testing.assert_close(left * values @ right, matrix)


def test_zeros_have_no_direction() -> None:
    assert len(factors(torch.zeros(3, 4, dtype=torch.float64))[1]) == 0
    assert torch.equal(direction(torch.zeros(3, 4, dtype=torch.float64)), torch.zeros(3, 4, dtype=torch.float64))


def test_the_direction_of_a_diagonal_matrix_has_the_signs_of_its_entries() -> None:
    """diag(5, -2, 1e-12): 1, -1, and nothing for what is no more than rounding beside 5."""
    numbers = torch.tensor([5.0, -2.0, 1e-12], dtype=torch.float64)
    expected = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64).diag()
    torch.testing.assert_close(direction(numbers.diag()), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("rows", "widths"), [(6, (5, 5, 5)), (20, (5, 5)), (6, (2, 30)), (1, (1,))], ids=str)
def test_common_directions_are_those_of_all_matrices_side_by_side(rows: int, widths: tuple[int, ...]) -> None:
    matrices = [random(rows, width) for width in widths]
    expected = torch.linalg.svd(torch.cat(matrices, dim=1), full_matrices=False).U
    found = common_directions(matrices, rows, sum(widths))
    torch.testing.assert_close((expected.T @ found).abs(), torch.eye(found.shape[1], dtype=torch.float64))


def test_a_sign_makes_the_largest_entry_of_each_column_positive() -> None:
    assert signs(torch.tensor([[1.0, -0.5], [-3.0, 0.2], [2.0, 0.1]])).tolist() == [[-1.0, -1.0]]
