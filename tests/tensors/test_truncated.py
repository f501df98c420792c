"""The nearest product of two factors as a node: what it holds, and what it says that it misses."""

from __future__ import annotations

import pytest
import torch

from brickctl.tensors.truncated import run_truncated


def truncated(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float]]:
    rows, columns = matrix.shape
    shapes = (rows, rank), (rank, columns), (1, 2)
    left, right, missed = (torch.full(shape, 7.0, dtype=torch.float64) for shape in shapes)
    run_truncated([matrix], [left, right, missed], {"rank": rank})
    return left, right, (float(missed[0, 0]), float(missed[0, 1]))


def noise(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("rows", "columns"), [(30, 20), (20, 30)])
def test_it_misses_what_is_beyond_its_rank(rows: int, columns: int) -> None:
    """The least that can be missed: the root of the sum of the squared singular values that are left out."""
    matrix = noise(rows, columns)
    left, right, (far, norm) = truncated(matrix, 5)
    least = float(torch.linalg.svdvals(matrix)[5:].square().sum().sqrt())
    assert far == pytest.approx(least, rel=1e-6)
    assert norm == pytest.approx(float(matrix.norm()))
    assert float((matrix - left @ right).norm()) == pytest.approx(least, rel=1e-6)


def test_a_matrix_of_a_smaller_rank_has_zeros_behind_it() -> None:
    matrix = noise(30, 2) @ noise(2, 20)
    left, right, (far, norm) = truncated(matrix, 5)
    assert far < 1e-6 * norm
    assert not left[:, 2:].any()
    assert not right[2:].any()


def test_zeros_miss_nothing() -> None:
    left, right, missed = truncated(torch.zeros(6, 4, dtype=torch.float64), 2)
    assert not left.any()
    assert not right.any()
    assert missed == (0.0, 0.0)


def test_what_is_not_finite_stays_so() -> None:
    matrix = noise(6, 4)
    matrix[0, 0] = float("nan")
    left, right, _ = truncated(matrix, 2)
    assert bool(left.isnan().all())
    assert bool(right.isnan().all())
