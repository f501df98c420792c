"""A merge method over tensors that a test has in its hands, through the executor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from brickctl.core.digests import sha256_bytes
from brickctl.core.parameters import defaults, each_of
from brickctl.merging.method import Part, combine
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node, Stored
    from brickctl.merging.method import MergeMethod


def merged(
    folder: Path,
    method: MergeMethod,
    inputs: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    settings: Sequence[Mapping[str, float]] | None = None,
    **budget: Any,
) -> Tensor:
    """What a method makes of these tensors, in fp64; every weight is 1 unless given, settings are the defaults."""
    names = [str(at) for at in range(len(inputs))]
    usual = {name: defaults(type(method)).numbers[name].at("x", 0.0) for name in each_of(type(method))}
    own = settings or [{} for _ in names]
    shares = weights or [1.0 for _ in names]

    def made(nodes: Mapping[str, Stored]) -> Node:
        parts = [
            Part(node=nodes[name], weight=weight, settings={**usual, **chosen}, brick=sha256_bytes(name.encode()))
            for name, weight, chosen in zip(names, shares, own, strict=True)
        ]
        return combine(method, parts, "x")

    return evaluated(folder, dict(zip(names, inputs, strict=True)), made, **budget)


def random_tensors(shape: Sequence[int], count: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Tensors that have something in common, so that the angles between them are neither 0 nor right ones."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(*shape, generator=generator)
    return [(shared + torch.randn(*shape, generator=generator)).to(dtype) for _ in range(count)]
