"""Tensors that are products of two small factors, as the deltas of LoRA are: found in a plan, and put into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Arrangement, Input, Map, Node, Op, View
from brickctl.core.regions import BLOCK_ELEMENTS, Access, Spec
from brickctl.tensors.kernels import kernel
from brickctl.tensors.views import transpose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What makes the matrix scale * left @ right: left (rows, r), right (r, columns), both in fp64."""

    left: Node
    right: Node
    scale: float

    @property
    def rank(self) -> int:
        """The most that the rank can be."""
        return self.right.spec.rows


def product_of(node: Node) -> Product | None:
    """The factors of a tensor, seen as a matrix (first dimension, all others); None where it is no product of two."""
    match node:
        case Map(op=Op(name="product")):
            return _product(node.inputs[0].node, node.inputs[1].node, node.op)
        case Map(op=Op(name="product-transposed")):
            return _product(transpose(node.inputs[1].node), transpose(node.inputs[0].node), node.op)
        case View(arrangement=Arrangement.TRANSPOSE, sources=(source,)):
            found = product_of(source)
            if found is None:
                return None
            return Product(left=transpose(found.right), right=transpose(found.left), scale=found.scale)
        case View(arrangement=Arrangement.RESHAPE, sources=(source,)) if source.spec.shape[:1] == node.spec.shape[:1]:
            return product_of(source)
    return None


def as_stored(factor: Node) -> Node:
    """A factor as it was before its rows or columns were rounded for an exact product."""
    match factor:
        case Map(op=Op(name="quantise")):
            return factor.inputs[0].node
        case View(arrangement=Arrangement.TRANSPOSE, sources=(source,)):
            inner = as_stored(source)
            turned_back = isinstance(inner, View) and inner.arrangement is Arrangement.TRANSPOSE
            return inner.sources[0] if isinstance(inner, View) and turned_back else transpose(inner)
    return factor


def is_zeros(node: Node) -> bool:
    """Whether a plan says that all elements are 0."""
    if isinstance(node, View):
        return all(map(is_zeros, node.sources))
    return isinstance(node, Map) and node.op.name == "zeros"


def rounded_product(left: Node, right: Node) -> Node:
    """The product left @ right of fp64 factors (rows, r) and (r, columns), as accurate as fp64 is.

    Its last bits depend on how many columns a block has, so that no block is cut into strips.
    """
    part = Access.ALL if left.spec.elements <= BLOCK_ELEMENTS else Access.ROWS
    spec = Spec(DType.F64, (left.spec.rows, right.spec.columns))
    factors = Input(left, part), Input(right, Access.COLUMNS)
    return Map(spec, Op.make("rounded-product", 1), factors, whole_rows=True)


@kernel("rounded-product", law="rounded", overwrites=False)
def run_rounded_product(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply the rows of the block, or those of all that belong to it, with the right factor."""
    import torch

    del arguments
    left, right = inputs
    torch.mm(left if len(left) == len(out) else left[block.top : block.bottom], right, out=out)


def _product(left: Node, right: Node, op: Op) -> Product:
    return Product(left=left, right=right, scale=op.arguments()["scale"])
