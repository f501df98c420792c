"""DoRA: a LoRA whose rows keep a learned length. See arXiv 2402.09353 and PEFT's `DoraLinearVariant`.

With P = s * B A and W the base (the norms are taken on the base, never on a running model):

    delta = m / ||W + P|| * (W + P) - W

The norm runs along the inputs of each output: rows of a linear layer's (out, in), columns of an embedding's (V, d).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op, Statistic
from brickctl.core.regions import Access, Spec
from brickctl.tensors.angles import square_root, square_root_
from brickctl.tensors.exact import sum_of_squares
from brickctl.tensors.kernels import Scan, kernel, statistic_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region


def linear_delta(weight: Node, product: Node, magnitude: Node) -> Node:
    """Delta of a linear layer: weight and product (out, in), magnitude (out) in any shape of that many elements."""
    inputs = Input(weight), Input(product), Input(magnitude, Access.ALL)
    return Map(Spec(DType.F64, weight.spec.shape), Op.make("dora-rows", 1), inputs, whole_rows=True)


def embedding_delta(weight: Node, product: Node, magnitude: Node) -> Node:
    """Delta of an embedding: weight and product (V, d), magnitude (d)."""
    columns = weight.spec.columns
    squares = Statistic(
        Spec(DType.F64, (columns,)), Op.make("dora-column-squares", 1, columns=columns), (weight, product)
    )
    inputs = Input(weight), Input(product), Input(magnitude, Access.ALL), Input(squares, Access.COLUMNS)
    return Map(Spec(DType.F64, weight.spec.shape), Op.make("dora-columns", 1), inputs)


@kernel("dora-rows", scratch=16)
def run_rows(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block of whole rows."""
    del arguments
    weight, product, magnitude = inputs
    out.copy_(weight)
    product.add_(out)
    norms = square_root_(sum_of_squares(product, dim=1))
    length = magnitude.reshape(-1, 1)[block.top : block.bottom].double() / norms
    out.neg_().add_(product.mul_(length))


@statistic_kernel("dora-column-squares", scratch=16)
def run_column_squares(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Sum the squares of W + P along its columns: (1, columns)."""
    import torch

    del given
    total = torch.zeros(1, arguments["columns"], dtype=torch.float64)
    for (weight, product), block in scan():
        product.add_(weight.double())
        total[:, block.left : block.right] += sum_of_squares(product, dim=0)
    return total


@kernel("dora-columns")
def run_columns(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block; the sums of squares of its columns are given."""
    del arguments
    weight, product, magnitude, squares = inputs
    length = magnitude.reshape(1, -1)[:, block.left : block.right].double() / square_root(squares)
    out.copy_(weight)
    product.add_(out)
    out.neg_().add_(product.mul_(length))
