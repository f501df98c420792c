"""What deltas have in common is read and widened once, and nobody sees what another kernel wrote over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Op
from brickctl.core.regions import Access, Spec
from brickctl.tensors import blobs
from brickctl.tensors.arithmetic import add, cast, subtract
from brickctl.tensors.kernels import kernel
from brickctl.tensors.sharing import shared_nodes
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node, Stored
    from brickctl.core.regions import Region

ROWS, COLUMNS = 700, 600
TENSORS = {
    name: torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed)).bfloat16()
    for seed, name in enumerate(("base", "one", "two"))
}


@kernel("test.spoil")
def spoil(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """The sum of its inputs, which it leaves in ruins."""
    del arguments, block
    out.zero_()
    for matrix in inputs:
        out.add_(matrix)
        matrix.fill_(-7)


def spoiled(*nodes: Node) -> Node:
    return Map(Spec(DType.F64, nodes[0].spec.shape), Op.make("test.spoil", 1), tuple(map(Input, nodes)))


def updated(nodes: Mapping[str, Stored]) -> Node:
    """base + (one - base) + (two - base)."""
    deltas = (subtract(nodes[name], nodes["base"]) for name in ("one", "two"))
    return add(nodes["base"], spoiled(*deltas))


def test_what_is_shared_is_the_outermost_that_comes_twice(tmp_path: Path) -> None:
    evaluated(tmp_path, TENSORS, updated)
    found: list[list[Node]] = []

    def note(nodes: Mapping[str, Stored]) -> Node:
        found.append([cast(nodes["base"], DType.F64)])
        node = updated(nodes)
        found.append([shared for shared, _ in shared_nodes((node,))])
        return node

    evaluated(tmp_path, TENSORS, note)
    assert set(map(str, found[0])) == set(map(str, found[1]))
    assert len(found[1]) == 3  # one a place, all with one key


def test_every_byte_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = blobs.Blobs.read

    def count(self: Any, blob: Any, offset: int, into: memoryview) -> None:
        read.append(len(into))
        real(self, blob, offset, into)

    monkeypatch.setattr(blobs.Blobs, "read", count)
    evaluated(tmp_path, TENSORS, updated)
    assert sum(read) == 3 * ROWS * COLUMNS * 2


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 20 << 20}], ids=str)
def test_a_kernel_that_overwrites_what_is_shared_spoils_it_for_nobody(budget: dict[str, int], tmp_path: Path) -> None:
    """The widened base goes into a kernel that overwrites it, twice, and into sums around it."""

    def make(nodes: Mapping[str, Stored]) -> Node:
        base = cast(nodes["base"], DType.F64)
        return add(add(spoiled(base, base), spoiled(base, subtract(nodes["one"], nodes["base"]))), base)

    base, one = TENSORS["base"].double(), TENSORS["one"].double()
    assert torch.equal(evaluated(tmp_path, TENSORS, make, **budget), (base + base) + (base + (one - base)) + base)


def test_another_rectangle_of_the_same_node_is_not_taken_for_it(tmp_path: Path) -> None:
    def make(nodes: Mapping[str, Stored]) -> Node:
        whole = Map(
            Spec(DType.F64, (ROWS, COLUMNS)),
            Op.make("test.first-row", 1),
            (Input(cast(nodes["base"], DType.F64)), Input(cast(nodes["base"], DType.F64), Access.ALL)),
        )
        return add(whole, nodes["base"])

    base = TENSORS["base"].double()
    assert torch.equal(evaluated(tmp_path, TENSORS, make), (base + base[:1]) + base)


@kernel("test.first-row")
def add_first_row(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Each row plus the first row of the whole tensor."""
    del arguments, block
    out.copy_(inputs[0]).add_(inputs[1][:1])
