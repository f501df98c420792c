"""TSV-Merge against its formula by another way: singular vectors from eigenvectors, and P(X) = X (X^T X)^(-1/2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from brickctl.merging.tsv import Tsv
from tests.merging.test_iso_c import close
from tests.support.merging import merged, random_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor


def expected(inputs: Sequence[Tensor], weights: Sequence[float], counts: Sequence[int]) -> Tensor:
    """With the `counts[i]` strongest singular vectors of each."""
    lefts, values, rights = [], [], []
    for tensor, weight, count in zip(inputs, weights, counts, strict=True):
        delta = weight * tensor.double().numpy()
        squares, vectors = np.linalg.eigh(delta @ delta.T)
        left = vectors[:, ::-1][:, :count]
        strength = np.sqrt(squares[::-1][:count])
        lefts.append(left)
        values.append(strength)
        rights.append((left.T @ delta) / strength[:, None])
    left, right = np.concatenate(lefts, axis=1), np.concatenate(rights)
    return torch.from_numpy(
        left @ root(left.T @ left) @ np.diag(np.concatenate(values)) @ root(right @ right.T) @ right
    )


def root(squares: np.ndarray) -> np.ndarray:
    """The inverse square root of a symmetric matrix, without its null space."""
    values, vectors = np.linalg.eigh(squares)
    used = values > 1e-10 * values.max()
    found: np.ndarray = vectors[:, used] / np.sqrt(values[used]) @ vectors[:, used].T
    return found


@pytest.mark.parametrize("shape", [(6, 5), (5, 9), (3, 3), (600, 500), (6, 50_000)], ids=str)
def test_each_delta_brings_its_share_of_directions_made_orthogonal(shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs, weights = random_tensors(shape, 3), [1.0, 0.5, -2.0]
    found = merged(tmp_path, Tsv(scale=0.5), inputs, weights)
    close(found, 0.5 * expected(inputs, weights, [min(shape) // 3] * 3))


def test_each_brick_may_keep_another_share(tmp_path: Path) -> None:
    inputs = random_tensors((6, 5), 2)
    settings = [{"rank_share": 0.65}, {"rank_share": 0.01}]
    close(merged(tmp_path, Tsv(), inputs, settings=settings), expected(inputs, [1.0, 1.0], [3, 1]))


def test_more_directions_than_there_is_room_for_share_it(tmp_path: Path) -> None:
    """Three full decompositions of (4, 6) are twelve directions in a space of four."""
    inputs = random_tensors((4, 6), 3)
    found = merged(tmp_path, Tsv(), inputs, settings=[{"rank_share": 1.0}] * 3)
    close(found, expected(inputs, [1.0] * 3, [4] * 3))


def test_orthogonal_deltas_are_added_up(tmp_path: Path) -> None:
    """diag(3, 0) and diag(0, 1) have nothing in common: diag(3, 1)."""
    first, second = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    close(merged(tmp_path, Tsv(), [first, second]), torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64)))


def test_deltas_in_the_same_direction_are_averaged(tmp_path: Path) -> None:
    """One number each, 3 and 5: both share one direction, with (3 + 5) / 2 = 4; 3 and -5 give -1."""
    for second, mean in ((5.0, 4.0), (-5.0, -1.0)):
        found = merged(tmp_path, Tsv(), [torch.tensor([[3.0]]), torch.tensor([[second]])])
        assert found.item() == pytest.approx(mean, rel=1e-12)


def test_equal_deltas_of_low_rank_give_that_delta_and_nothing_made_up(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(5)
    one = torch.randn(9, 2, generator=generator) @ torch.randn(2, 8, generator=generator)
    close(merged(tmp_path, Tsv(), [one.double()] * 3), one.double(), 1e-6)  # fp32 made `one` not exactly of rank 2


def test_a_single_delta_stays_what_it_is(tmp_path: Path) -> None:
    (one,) = random_tensors((6, 5), 1)
    close(merged(tmp_path, Tsv(), [one], [0.5]), 0.5 * one.double())
