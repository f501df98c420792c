"""What the tests of sparsifying methods share: slow references in plain fp64, and mergekit's own implementation."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import torch
from mergekit.merge_methods.api import merge_tensors

from brickctl.core.digests import sha256_bytes
from brickctl.tensors.draws import draws, stream_key
from tests.support.merging import merged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest
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


def models_without_ties(shape: Sequence[int], count: int, *, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """The same with deltas whose magnitudes are 1 to n times 2^-22 in any order: there is one way to rank them."""
    generator = torch.Generator().manual_seed(seed)
    entries = math.prod(shape)
    base = torch.randint(-(1 << 22), 1 << 22, (entries,), generator=generator)
    signs = [torch.randint(0, 2, (entries,), generator=generator) * 2 - 1 for _ in range(count)]
    moved = [base + sign * (torch.randperm(entries, generator=generator) + 1) for sign in signs]
    first, *others = (numbers.float().mul(2.0**-22).reshape(tuple(shape)) for numbers in (base, *moved))
    return first, others


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


def draws_for(method: MergeMethod, number: int, elements: int, seed: int = 0) -> Tensor:
    """The draws of the entries of one of the inputs of `merged`, by the contract of `brickctl.tensors.draws`."""
    stream = stream_key(seed, sha256_bytes(str(number).encode()), method.declared.name, "x")
    return torch.from_numpy(draws(stream, 0, elements).astype("int64"))


def drawn_mask(method: MergeMethod, number: int, chances: Tensor, seed: int = 0) -> Tensor:
    """1 where an entry with these chances is kept, else 0, in their type."""
    limits = torch.floor(65536 * chances.double() + 0.5)
    kept = draws_for(method, number, chances.numel(), seed).reshape(chances.shape) < limits
    return kept.to(chances.dtype)


def inject_draws(monkeypatch: pytest.MonkeyPatch, method: MergeMethod) -> None:
    """Let our draws decide what mergekit keeps with its own chances, one delta after another."""
    numbers = itertools.count()
    monkeypatch.setattr(torch, "bernoulli", lambda chances: drawn_mask(method, next(numbers), chances))


def agree_in_distribution(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    """Two samples of tensors have the same means, entry by entry, and the same variances, all entries together.

    The squared differences of means, over the variance of that difference, are 1 on average; over N entries they are so
    within about sqrt(2 / N).
    """
    left, right = torch.stack([*ours]).double(), torch.stack([*theirs]).double()
    spread = left.var(0) / len(left) + right.var(0) / len(right)
    squares = ((left.mean(0) - right.mean(0)) ** 2 / spread)[spread > 0]
    assert abs(float(squares.mean()) - 1.0) < 5 * math.sqrt(2 / squares.numel())
    assert abs(float(left.var(0).sum() / right.var(0).sum()) - 1.0) < 0.1


def chances_by_rank(delta: Tensor, *, density: float, epsilon: float) -> Tensor:
    """The chances of the entries, growing with the rank in the row, equal magnitudes by index."""
    matrix = delta.reshape(-1, delta.shape[-1]).abs()
    columns = matrix.shape[1]
    if columns == 1:
        return torch.full_like(delta, density)
    epsilon = min(epsilon, density, 1 - density)
    ranks = matrix.argsort(dim=1, stable=True).argsort(dim=1).double()
    return (density - epsilon + 2 * epsilon * ranks / (columns - 1)).reshape(delta.shape)


def middle(tensor: Tensor, *, density: float, gamma: float) -> Tensor:
    """The entries that follow the floor(gamma n) largest, as many as the density says."""
    entries = tensor.numel()
    kept = max(1, math.floor(density * entries))
    skipped = min(math.floor(gamma * entries), entries - kept)
    return ranked(tensor, skipped, skipped + kept)
