"""Tucker decompositions of convolution kernels, as LyCORIS writes them.

    w[o, i, k] = sum over p, q of t[p, q, k] a[p, o] b[q, i]

t is (r, r, ...kernel), a (r, out), b (r, in). For each place k of the kernel this is a product of three matrices; all
sums run in a fixed order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region
    from brickctl.kinds.adapters.module import Module


def tucker_product(module: Module, core: str, left: str, right: str, rank: int, scale: float) -> Node:
    """The decomposition as a matrix (out, in * kernel)."""
    middle = module.matrix(core, rows=rank)
    outer, inner = module.matrix(left, rows=rank), module.matrix(right, rows=rank)
    places = middle.spec.shape[1] // rank
    shape = outer.spec.shape[1], inner.spec.shape[1] * places
    inputs = Input(middle, Access.ALL), Input(outer, Access.ALL), Input(inner, Access.ALL)
    return Map(Spec(DType.F64, shape), Op.make("tucker", 1, places=places, scale=scale), inputs)


@kernel("tucker", scratch=24)
def run_tucker(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block, added up over p and q one after another."""
    import torch

    middle, outer, inner = (matrix.double() for matrix in inputs)
    rank, places = middle.shape[0], arguments["places"]
    columns = torch.arange(block.left, block.right)
    core = middle.reshape(rank, rank, places)
    out.zero_()
    for p in range(rank):
        row = torch.zeros(out.shape[1], dtype=torch.float64)
        for q in range(rank):
            row += core[p, q][columns % places] * inner[q][columns // places]
        out += outer[p, block.top : block.bottom].unsqueeze(1) * row.unsqueeze(0)
    out.mul_(arguments["scale"])
