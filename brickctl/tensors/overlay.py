"""Some rows or columns of a matrix in the place of those of another: no bit of either changes.

Where both have one element type the result keeps it; else it is fp64. Places are int32, ascending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.tensors.kernels import kernel
from brickctl.tensors.placed import ascending

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region


def lay_rows(node: Node, places: Node, rows: Node, name: str) -> Node:
    """A matrix (rows, columns) whose rows at these places (n,) are those of another one (n, columns).

    `name` is how messages call the tensor.
    """
    checked = ascending(places, node.spec.shape[0], name)
    return Map(
        _spec(node, rows), Op.make("lay-rows", 1), (Input(node), Input(checked, Access.ALL), Input(rows, Access.ALL))
    )


def lay_columns(node: Node, places: Node, columns: Node, name: str) -> Node:
    """A matrix (rows, columns) whose columns at these places (n,) are those of another one (rows, n); or a vector."""
    checked = ascending(places, node.spec.columns, name)
    inputs = Input(node), Input(checked, Access.ALL), Input(columns, Access.ROWS)
    return Map(_spec(node, columns), Op.make("lay-columns", 1), inputs)


def _spec(node: Node, other: Node) -> Spec:
    return Spec(node.spec.dtype if node.spec.dtype is other.spec.dtype else DType.F64, node.spec.shape)


@kernel("lay-rows", scratch=8, overwrites=False)
def run_lay_rows(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Copy the block, and over it the rows that lie in it."""
    del arguments
    below, places, rows = inputs
    out.copy_(below)
    first, end = _between(places, block.top, block.bottom)
    out[places[0, first:end].long() - block.top] = rows[first:end, block.left : block.right].to(out.dtype)


@kernel("lay-columns", scratch=8, overwrites=False)
def run_lay_columns(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Copy the block, and over it the columns that lie in it."""
    del arguments
    below, places, columns = inputs
    out.copy_(below)
    first, end = _between(places, block.left, block.right)
    out[:, places[0, first:end].long() - block.left] = columns[:, first:end].to(out.dtype)


def _between(places: Tensor, first: int, end: int) -> tuple[int, int]:
    """Which of the ascending places (1, n) lie between two numbers."""
    import torch

    found: list[int] = torch.searchsorted(places[0], torch.tensor([first, end], dtype=places.dtype)).tolist()
    return found[0], found[1]
