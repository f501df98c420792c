"""What the tests of sparsifying methods share: slow references in plain fp64, and mergekit's own implementation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from mergekit.merge_methods.api import merge_tensors

from tests.support.merging import merged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.merging.method import MergeMethod

BUDGETS = [{"threads": 1}, {"threads": 4}, {"memory": 56 << 20}]
"""Beside the usual two threads with room."""

SHAPES = [(48, 64), (1000, 300), (2, 300_000), (301_000,), (3, 5, 7), (1,)]
"""Several blocks of rows, rows longer than a block, one dimension, three, and a single element."""


def models(shape: Sequence[int], count: int, *, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """A base in fp32 and as many models tuned from it."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(*shape, generator=generator)
    return base, [base + 0.02 * torch.randn(*shape, generator=generator) for _ in range(count)]


def deltas(shape: Sequence[int], count: int, *, seed: int = 0) -> list[Tensor]:
    """The deltas of such models, exact in fp64."""
    base, tuned = models(shape, count, seed=seed)
    return [model.double() - base.double() for model in tuned]


def by_mergekit(name: str, base: Tensor, tuned: Sequence[Tensor], **parameters: Any) -> Tensor:
    """What mergekit makes of these tensors in the type that they have."""
    return merge_tensors([base, *tuned], name, parameters=parameters, base_index=0)


def parity(
    folder: Path,
    method: MergeMethod,
    case: tuple[Tensor, Sequence[Tensor]],
    weights: Sequence[float],
    settings: Sequence[dict[str, float]],
    **theirs: Any,
) -> float:
    """The largest difference between us, and mergekit in fp32, relative to the largest of the merged tensor."""
    base, tuned = case
    each = {name: [own[name] for own in settings] for name in settings[0]}
    expected = by_mergekit(method.declared.name, base, tuned, weight=list(weights), **each, **theirs).double()
    exact = [model.double() - base.double() for model in tuned]
    ours = base.double() + merged(folder, method, exact, weights, settings)
    return float((ours - expected).abs().max() / expected.abs().max())


def elected(
    inputs: Sequence[Tensor], weights: Sequence[float], *, elect: str = "weighted", divide: str = "weight"
) -> Tensor:
    """The formula of election, straight from its docstring."""
    stack = torch.stack([tensor.double() for tensor in inputs])
    shares = torch.tensor(weights, dtype=torch.float64).reshape(-1, *[1] * inputs[0].dim())
    weighted = stack * shares
    voters = stack if elect == "unweighted" else weighted
    votes = (voters.sign() if elect == "count" else voters).sum(0)
    wins = torch.where(votes >= 0, 1.0, -1.0).double()
    agree = (voters.sign() == wins).double()
    total = (weighted * agree).sum(0)
    divisor = {"weight": (shares * agree).sum(0), "count": agree.sum(0), "none": torch.ones_like(total)}[divide]
    return torch.where(divisor == 0, total, total / divisor)


def magnitudes(tensor: Tensor) -> Tensor:
    """The indices of a tensor from its largest magnitude to its smallest, equal ones by index."""
    return tensor.reshape(-1).abs().sort(descending=True, stable=True).indices


def ranked(tensor: Tensor, first: int, last: int) -> Tensor:
    """The tensor with only the ranks [first, last) of falling magnitude left."""
    kept = torch.zeros_like(tensor.reshape(-1))
    places = magnitudes(tensor)[first:last]
    kept[places] = tensor.reshape(-1)[places]
    return kept.reshape(tensor.shape)


def trimmed(tensor: Tensor, density: float) -> Tensor:
    """The largest floor(density n), at least one."""
    return ranked(tensor, 0, max(1, math.floor(density * tensor.numel())))


def restored(tensor: Tensor, kept: Tensor, rescale: str, density: float) -> Tensor:
    """What was kept, rescaled."""
    if rescale == "l1" and kept.abs().sum() > 0:
        return kept * (tensor.abs().sum() / kept.abs().sum())
    return kept / density if rescale == "density" else kept


def close(found: Tensor, expected: Tensor) -> None:
    """Equal but for the last bits of fp64, relative to the largest."""
    bound = 1e-12 * max(float(expected.abs().max()), 1e-300)
    torch.testing.assert_close(found, expected.double(), rtol=1e-12, atol=bound)
