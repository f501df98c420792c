"""Some columns of a matrix, in any order, and columns of zeros between them: no bit of them changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region


ZEROS = -1
"""Stands for a column of zeros."""


def pick_columns(node: Node, columns: Sequence[int]) -> Node:
    """These columns of a matrix (rows, columns), or entries of a vector, in this order; the node itself if it is all.

    Files hold rows: to gather rows of the transposed matrix would read each element for itself. Here whole rows are
    read, and blocks are so low that this is no more than a block of the matrix.
    """
    if list(columns) == [*range(node.spec.columns)]:
        return node
    spec = Spec(node.spec.dtype, (*node.spec.shape[:-1], len(columns)))
    return Map(spec, Op.make("pick-columns", 1, columns=[*columns]), (Input(node, Access.AMONG),))


@kernel("pick-columns", overwrites=False)
def run_pick(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Copy the columns that the block has of them."""
    import torch

    columns = torch.tensor(arguments["columns"][block.left : block.right])
    torch.index_select(inputs[0], 1, columns.clamp(min=0), out=out)
    out[:, columns == ZEROS] = 0
