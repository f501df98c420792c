"""Iso-C against its formula by another way: U V = (D D^T)^(-1/2) D, from eigenvalues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from brickctl.merging.iso_c import IsoC
from tests.support.merging import merged, random_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

SHAPES = [(6, 5), (5, 6), (1, 7), (7, 1), (1, 1), (700, 400), (2, 300_000)]


def expected(inputs: Sequence[Tensor], weights: Sequence[float], scale: float = 1.0) -> Tensor:
    """From the eigenvalues of D D^T or D^T D, the smaller one."""
    total = sum(weight * tensor.double().numpy() for tensor, weight in zip(inputs, weights, strict=True))
    wide = total if total.shape[0] <= total.shape[1] else total.T
    squares, vectors = np.linalg.eigh(wide @ wide.T)
    used = squares > 1e-12 * squares.max()
    roots, vectors = np.sqrt(squares[used]), vectors[:, used]
    found = roots.mean() * vectors @ ((vectors.T @ wide) / roots[:, None])
    return scale * torch.from_numpy(found if wide is total else found.T.copy())


def close(found: Tensor, reference: Tensor, tolerance: float = 1e-9) -> None:
    assert float((found - reference).abs().max()) <= tolerance * float(reference.abs().max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_sum_keeps_its_directions_and_gets_a_flat_spectrum(shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs, weights = random_tensors(shape, 3), [1.0, 0.5, -2.0]
    close(merged(tmp_path, IsoC(scale=1.5), inputs, weights), expected(inputs, weights, 1.5))


def test_the_mean_of_3_and_1_is_2(tmp_path: Path) -> None:
    first, second = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    close(merged(tmp_path, IsoC(), [first, second]), 2 * torch.eye(2, dtype=torch.float64))


def test_a_sum_of_low_rank_gets_no_direction_that_it_did_not_have(tmp_path: Path) -> None:
    """Singular values 6 and 2, the others 0: both become 4, and the sum of all stays 8."""
    generator = torch.Generator().manual_seed(3)
    left = torch.linalg.qr(torch.randn(9, 2, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(7, 2, generator=generator, dtype=torch.float64)).Q.T
    inputs = [6 * left[:, :1] @ right[:1], 2 * left[:, 1:] @ right[1:]]
    close(merged(tmp_path, IsoC(), inputs), 4 * left @ right)


def test_opposite_deltas_cancel(tmp_path: Path) -> None:
    (one,) = random_tensors((5, 4), 1)
    assert not merged(tmp_path, IsoC(), [one, -one]).count_nonzero()
