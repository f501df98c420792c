"""Elementary kernels on blocks, and the functions that put them into plans.

All arithmetic is in fp64, multiplication and addition apart, so that no CPU can fuse them: every result is the IEEE
result of the formula as it is written, and the bits are the same everywhere. Rounding to the stored type comes last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.tensors.fused.formula import formula
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Notes, Value


def cast(node: Node, dtype: DType) -> Node:
    """The tensor, rounded to nearest even in `dtype`; the node itself where nothing changes."""
    if node.spec.dtype is dtype:
        return node
    return Map(Spec(dtype, node.spec.shape), Op.make("cast", 1), (Input(node),))


def add(left: Node, right: Node) -> Node:
    """The sum left + right, in fp64."""
    return Map(_wide(left), Op.make("add", 1), (Input(cast(left, DType.F64)), Input(cast(right, DType.F64))))


def subtract(left: Node, right: Node) -> Node:
    """The difference left - right, in fp64: exact for fp32 operands whose exponents differ by less than 29."""
    return Map(_wide(left), Op.make("subtract", 1), (Input(left), Input(cast(right, DType.F64))))


def multiply(left: Node, right: Node) -> Node:
    """The product left * right, element by element, in fp64."""
    return Map(_wide(left), Op.make("multiply", 1), (Input(left), Input(right)))


def zeros(like: Node) -> Node:
    """A tensor of zeros in the shape of another, in fp64."""
    return Map(_wide(like), Op.make("zeros", 1), ())


def scaled(node: Node, factor: float) -> Node:
    """The tensor times a number, in fp64."""
    return Map(_wide(node), Op.make("scale", 1, factor=factor), (Input(node),))


def scale_rows(node: Node, factors: Node) -> Node:
    """Each row of a matrix (rows, columns) times its factor, in fp64; factors (1, rows)."""
    return Map(_wide(node), Op.make("scale-rows", 1), (Input(node), Input(factors, Access.ACROSS)))


def scale_columns(node: Node, factors: Node) -> Node:
    """Each column of a matrix (rows, columns) times its factor, in fp64; factors (1, columns)."""
    return Map(_wide(node), Op.make("scale-columns", 1), (Input(node), Input(factors, Access.COLUMNS)))


def corner(node: Node, rows: int, columns: int) -> Node:
    """The first rows and columns of a matrix, in fp64."""
    return Map(Spec(DType.F64, (rows, columns)), Op.make("cast", 1), (Input(node),))


def _wide(node: Node) -> Spec:
    return Spec(DType.F64, node.spec.shape)


@formula("cast", widens=True)
def cast_formula(
    inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
) -> Value | None:
    """The value itself: it is rounded where it is stored."""
    del arguments, notes
    return None if whole else inputs[0]


@formula("add")
def add_formula(
    inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
) -> Value | None:
    """The sum of two values."""
    del arguments, notes
    return None if whole else inputs[0] + inputs[1]


@formula("subtract", widens=True)
def subtract_formula(
    inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
) -> Value | None:
    """The difference of two values."""
    del arguments, notes
    return None if whole else inputs[0] - inputs[1]


@formula("multiply", widens=True)
def multiply_formula(
    inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
) -> Value | None:
    """The product of two values."""
    del arguments, notes
    return None if whole else inputs[0] * inputs[1]


@formula("scale", widens=True)
def scale_formula(
    inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
) -> Value | None:
    """The value times a number."""
    del notes
    return None if whole else inputs[0] * float(arguments["factor"])


@kernel("cast", overwrites=False)
def run_cast(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Convert; fp64 to a 16-bit type goes through fp32, so an error is at most 0.5 + 2^-17 units in the last place."""
    del arguments, block
    out.copy_(inputs[0])


@kernel("add", overwrites=False)
def run_add(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Add two blocks of fp64."""
    import torch

    del arguments, block
    torch.add(*inputs, out=out)


@kernel("zeros", overwrites=False)
def run_zeros(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Write zeros."""
    del inputs, arguments, block
    out.zero_()


@kernel("multiply", overwrites=False)
def run_multiply(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply two blocks."""
    del arguments, block
    left, right = inputs
    out.copy_(left)
    out.mul_(right)


@kernel("scale", overwrites=False)
def run_scale(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply a block by a number."""
    del block
    out.copy_(inputs[0])
    out.mul_(arguments["factor"])


@kernel("scale-rows", overwrites=False)
def run_scale_rows(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply the rows of a block by the factors (1, rows)."""
    del arguments, block
    matrix, factors = inputs
    out.copy_(matrix)
    out.mul_(factors.T)


@kernel("scale-columns", overwrites=False)
def run_scale_columns(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply the columns of a block by the factors (1, columns)."""
    del arguments, block
    matrix, factors = inputs
    out.copy_(matrix)
    out.mul_(factors)


@kernel("subtract", overwrites=False)
def run_subtract(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Subtract the second block, fp64, from the first, which is widened before: a mixed subtraction is slower."""
    del arguments, block
    left, right = inputs
    out.copy_(left)
    out.sub_(right)
