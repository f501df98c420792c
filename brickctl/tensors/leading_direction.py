"""The direction in which a product of two small factors reads most: its first right singular vector.

    B A = U S V^T,  B = Q_B R_B,  A^T = Q_A R_A,  R_B R_A^T = U' S V'^T  =>  v_1 = Q_A v'_1

Only the core R_B R_A^T, of r rows and columns, is decomposed, in fp64; the product is never made. A singular vector is
as good as its negative: here the entry of largest magnitude is positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Bundle, Op, Output
from brickctl.core.regions import Spec
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.finite import is_finite
from brickctl.tensors.kernels import bundle_kernel
from brickctl.tensors.spectral import signs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node


def leading_direction(left: Node, right: Node) -> Node:
    """The direction (1, columns) of left (rows, r) @ right (r, columns), of length 1, in fp64.

    Zeros for a product of zeros. It depends on these two factors alone, so on no other brick that stands beside them.
    """
    spec = Spec(DType.F64, (1, right.spec.columns))
    wide = cast(left, DType.F64), cast(right, DType.F64)
    return Output(Bundle(Op.make("leading-direction", 1), wide, (spec,)), 0)


@bundle_kernel("leading-direction", scratch=32)
def run_leading_direction(inputs: Sequence[Tensor], outs: Sequence[Tensor], arguments: Mapping[str, Any]) -> None:
    """Decompose the core."""
    import torch

    del arguments
    left, right = inputs
    (out,) = outs
    if not (is_finite(left) and is_finite(right)):
        out.fill_(float("nan"))
        return
    basis, across = torch.linalg.qr(right.T)
    core = torch.linalg.qr(left, mode="r").R @ across.T
    _, values, turned = torch.linalg.svd(core, full_matrices=False)
    direction = basis @ turned[:1].T
    if float(values[0]) == 0.0:
        out.zero_()
        return
    out.copy_((direction * signs(direction)).T)
