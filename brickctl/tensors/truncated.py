"""The best product of two small factors for a matrix, as nodes of a plan: what `truncation` makes of a whole matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Bundle, Op, Output
from brickctl.core.regions import Spec
from brickctl.tensors.finite import is_finite
from brickctl.tensors.kernels import bundle_kernel
from brickctl.tensors.spectral import strongest_bytes
from brickctl.tensors.truncation import of_rank, residual

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node


def truncated(matrix: Node, rank: int) -> tuple[Node, Node, Node]:
    """Factors (rows, rank) and (rank, columns) of the strongest directions of a matrix, in fp64, and what they miss.

    What they miss are two numbers: the norm of the difference, with factors rounded to fp32, and that of the matrix.
    Directions that the matrix does not have are zeros.
    """
    rows, columns = matrix.spec.shape
    shapes = (rows, rank), (rank, columns), (2,)
    specs = tuple(Spec(DType.F64, shape) for shape in shapes)
    bundle = Bundle(Op.make("truncated", 1, rank=rank), (matrix,), specs)
    return Output(bundle, 0), Output(bundle, 1), Output(bundle, 2)


def _room(bundle: Bundle) -> int:
    """A decomposition of the shorter side, and images of it on the longer one, for a moment twice."""
    rows, columns = bundle.inputs[0].spec.shape
    return strongest_bytes(min(rows, columns)) + 16 * rows * columns


@bundle_kernel("truncated", scratch=_room, movable=True)
def run_truncated(inputs: Sequence[Tensor], outs: Sequence[Tensor], arguments: Mapping[str, Any]) -> None:
    """Decompose one matrix."""
    (matrix,) = inputs
    left, right, missed = outs
    if not is_finite(matrix):
        for out in outs:
            out.fill_(float("nan"))
        return
    for out in outs:
        out.zero_()
    norm = float(matrix.norm())
    if norm == 0.0:
        return
    found = of_rank(matrix, arguments["rank"])
    left[:, : found.rank].copy_(found.left)
    right[: found.rank].copy_(found.right)
    missed[0, 0] = residual(matrix, left.float(), right.float())
    missed[0, 1] = norm
