"""A merge method over tensors that a test has in its hands, through the executor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Stored
from brickctl.core.parameters import defaults, each_of
from brickctl.core.regions import Spec, whole
from brickctl.merging.method import Part, combine
from brickctl.tensors.buffers import Buffers
from brickctl.tensors.evaluate import Evaluator
from brickctl.tensors.results import Results
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.core.regions import Region
    from brickctl.merging.method import MergeMethod


def merged(
    folder: Path,
    method: MergeMethod,
    inputs: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    settings: Sequence[Mapping[str, float]] | None = None,
    tensor: str = "x",
    **budget: Any,
) -> Tensor:
    """What a method makes of these tensors, in fp64; every weight is 1 unless given, settings are the defaults."""
    stored = {str(at): tensor.clone() for at, tensor in enumerate(inputs)}  # a file holds none twice

    def made(nodes: Mapping[str, Stored]) -> Node:
        return combined(method, [nodes[name] for name in stored], weights, settings, tensor)

    return evaluated(folder, stored, made, **budget)


def merged_in_memory(
    method: MergeMethod,
    inputs: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    settings: Sequence[Mapping[str, float]] | None = None,
) -> Tensor:
    """The same in a moment, for small fp64 tensors: no files, no threads, one block."""
    held: Any = _Held(inputs)
    specs = [Spec(DType.F64, tuple(tensor.shape)) for tensor in inputs]
    node = combined(method, [Stored(spec, sha256_bytes(b""), at) for at, spec in enumerate(specs)], weights, settings)
    matrix = Evaluator(held, Buffers(1 << 24), Results(1), 1 << 40).evaluate(node, whole(node.spec)).matrix
    return matrix.clone().reshape(node.spec.shape)


class _Held:
    """Stands for the files of a plan: the offset of a stored tensor is its number."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors

    def read_region(self, node: Stored, region: Region, content: memoryview) -> None:
        matrix = self._tensors[node.offset].reshape(node.spec.rows, node.spec.columns)
        part = matrix[region.top : region.bottom, region.left : region.right].contiguous()
        content[:] = part.numpy().tobytes()


def combined(
    method: MergeMethod,
    nodes: Sequence[Node],
    weights: Sequence[float] | None = None,
    settings: Sequence[Mapping[str, float]] | None = None,
    tensor: str = "x",
    statistics: Sequence[Node] = (),
) -> Node:
    """The node of a merge of these; bricks have made-up digests."""
    usual = {name: defaults(type(method)).numbers[name].at("x", 0.0) for name in each_of(type(method))}
    parts = [
        Part(
            node=node,
            weight=1.0 if weights is None else weights[at],
            settings={**usual, **({} if settings is None else settings[at])},
            brick=sha256_bytes(str(at).encode()),
            statistic=statistics[at] if statistics else None,
        )
        for at, node in enumerate(nodes)
    ]
    return combine(method, parts, tensor)


def random_tensors(shape: Sequence[int], count: int, *, seed: int = 0) -> list[Tensor]:
    """Tensors that have something in common, so that the angles between them are neither 0 nor right ones."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(tuple(shape), generator=generator)
    return [shared + torch.randn(tuple(shape), generator=generator) for _ in range(count)]
