"""KnOTS against its formula: one decomposition of all deltas side by side, then TIES as it is written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.merging.knots import Knots
from brickctl.merging.ties import Ties
from tests.merging.test_iso_c import close
from tests.support.merging import merged, random_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor


def expected(inputs: Sequence[Tensor], weights: Sequence[float], densities: Sequence[float], **options: str) -> Tensor:
    left, values, right = torch.linalg.svd(
        torch.cat([tensor.double() for tensor in inputs], dim=1), full_matrices=False
    )
    rank = int((values > 1e-8 * values[0]).sum())
    signs = left[:, :rank].gather(0, left[:, :rank].abs().argmax(dim=0, keepdim=True)).sign()
    left, aligned = left[:, :rank] * signs, signs.T * values[:rank, None] * right[:rank]
    return left @ ties(aligned.split(inputs[0].shape[1], dim=1), weights, densities, **options)


def ties(
    inputs: Sequence[Tensor], weights: Sequence[float], densities: Sequence[float], elect: str, divide: str
) -> Tensor:
    trimmed = torch.stack([trim(tensor, density) for tensor, density in zip(inputs, densities, strict=True)])
    factors = torch.tensor(weights, dtype=torch.float64).view(-1, *[1] * (trimmed.dim() - 1))
    weighted = factors * trimmed
    votes = {"weighted": weighted, "unweighted": trimmed, "count": weighted.sign()}[elect]
    sign = torch.where(votes.sum(dim=0) >= 0, 1.0, -1.0)
    agree = ((trimmed if elect == "unweighted" else weighted).sign() == sign).double()
    below = {"weight": (factors * agree).sum(dim=0), "count": agree.sum(dim=0), "none": torch.ones(())}[divide]
    return (weighted * agree).sum(dim=0) / torch.where(below == 0, 1.0, below)


def trim(tensor: Tensor, density: float) -> Tensor:
    flat = torch.where(tensor.abs() > 1e-8 * tensor.abs().max(), tensor, 0.0).reshape(-1)
    count = max(1, math.floor(density * flat.numel()))
    kept = torch.zeros_like(flat)
    places = torch.sort(flat.abs(), descending=True, stable=True).indices[:count]
    kept[places] = flat[places]
    return kept.reshape(tensor.shape)


@pytest.mark.parametrize("shape", [(6, 5), (5, 9), (30, 4), (1, 7), (7, 1), (1, 1), (500, 600), (2, 300_000)], ids=str)
def test_ties_in_the_directions_of_all_deltas(shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs, weights = random_tensors(shape, 3), [1.0, 0.5, 0.7]
    settings = [{"density": 0.3}, {"density": 0.8}, {"density": 1.0}]
    found = merged(tmp_path, Knots(scale=0.6), inputs, weights, settings)
    close(found, 0.6 * expected(inputs, weights, [0.3, 0.8, 1.0], elect="weighted", divide="count"))


@pytest.mark.parametrize("elect", ["weighted", "unweighted", "count"])
@pytest.mark.parametrize("divide", ["weight", "count", "none"])
def test_every_variant_of_election_and_division(elect: Any, divide: Any, tmp_path: Path) -> None:
    inputs, weights = random_tensors((8, 6), 2), [1.5, 0.4]
    found = merged(tmp_path, Knots(elect=elect, divide=divide), inputs, weights)
    close(found, expected(inputs, weights, [1.0] * 2, elect=elect, divide=divide))


def test_directions_that_one_delta_alone_has_are_not_divided(tmp_path: Path) -> None:
    """diag(3, 0) and diag(0, 1) share no direction: diag(3, 1); diag(3, 0) and diag(1, 0) share one: diag(2, 0)."""
    three, one = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    close(merged(tmp_path, Knots(), [three, one]), torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64)))
    both = merged(tmp_path, Knots(), [three, one.flip(0, 1)])
    close(both, torch.diag(torch.tensor([2.0, 0.0], dtype=torch.float64)))


def test_rounding_has_no_vote_where_adapters_share_no_direction(tmp_path: Path) -> None:
    """Two adapters of rank 2 that write to orthogonal directions come out as their sum, not half of it."""
    generator = torch.Generator().manual_seed(7)
    outputs = torch.linalg.qr(torch.randn(40, 4, generator=generator, dtype=torch.float64)).Q
    inside = torch.randn(4, 30, generator=generator, dtype=torch.float64)
    first, second = outputs[:, :2] @ inside[:2], 1e-6 * outputs[:, 2:] @ inside[2:]
    close(merged(tmp_path, Knots(), [first, second]), first + second)


def test_equal_deltas_give_that_delta_and_opposite_ones_what_has_a_plus(tmp_path: Path) -> None:
    (one,) = random_tensors((6, 5), 1)
    close(merged(tmp_path, Knots(), [one, one, one]), one.double())
    directions = torch.linalg.svd(one.double(), full_matrices=False).U
    directions *= directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    close(merged(tmp_path, Knots(), [one, -one]), directions @ (directions.T @ one.double()).abs())


def test_vectors_get_ties_and_kernels_of_convolutions_are_seen_as_matrices(tmp_path: Path) -> None:
    settings = [{"density": 0.5}, {"density": 0.25}]
    inputs = random_tensors((40,), 2)
    as_ties = merged(tmp_path, Ties(divide="count"), inputs, [1.0, 0.5], settings)
    assert torch.equal(merged(tmp_path, Knots(), inputs, [1.0, 0.5], settings), as_ties)
    kernels = random_tensors((4, 3, 2, 2), 2)
    flat = merged(tmp_path, Knots(), [kernel.reshape(4, 12) for kernel in kernels], [1.0, 0.5], settings)
    assert torch.equal(merged(tmp_path, Knots(), kernels, [1.0, 0.5], settings), flat.reshape(4, 3, 2, 2))
