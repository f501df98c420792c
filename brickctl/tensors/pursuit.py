"""Orthogonal matching pursuit: vectors as sums of a few others, carried over into another space.

Pati, Rezaiifar, Krishnaprasad 1993. For each target y the atom a with the largest |<a, r>| is taken, r the residual, at
first y; then r is what of y is outside of all that was taken. k times; the coefficients c are those of least squares,
y ~ sum_i c_i a_i. A residual below 2^-40 of y ends it, as the rest would be rounding.

What is written is sum_i c_i b_i: b_i stands in the other space for what a_i is in this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Bundle, Op, Output
from brickctl.core.regions import Spec
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.finite import is_finite
from brickctl.tensors.kernels import bundle_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node

_NOTHING = 2.0**-40
_AT_ONCE = 1 << 24
"""Numbers of the largest table of one batch."""

_LARGEST_BATCH = 512


def pursued(targets: Node, atoms: Node, twins: Node, k: int) -> Node:
    """Targets (t, d) by atoms (s, d), as sums of their twins (s, e): (t, e) in fp64."""
    inputs = tuple(cast(node, DType.F64) for node in (targets, atoms, twins))
    spec = Spec(DType.F64, (targets.spec.rows, twins.spec.columns))
    return Output(Bundle(Op.make("pursuit", 1, k=k), inputs, (spec,)), 0)


def _batch(atoms: int, width: int, k: int) -> int:
    """How many targets are worked on at once: by the shapes alone, so that the bits stay the same."""
    return max(1, min(_LARGEST_BATCH, _AT_ONCE // max(atoms, width * k)))


def _room(bundle: Bundle) -> int:
    """Per target of a batch: products with all atoms, those taken, and what k atoms take as vectors and in a square."""
    targets, atoms, twins = (node.spec for node in bundle.inputs)
    k: int = bundle.op.arguments()["k"]
    width = max(targets.columns, twins.columns)
    each = 24 * atoms.rows + 8 * (2 * k * width + 3 * k * k + 8 * width)
    return _batch(atoms.rows, width, k) * each


@bundle_kernel("pursuit", scratch=_room, movable=True)
def run_pursuit(inputs: Sequence[Tensor], outs: Sequence[Tensor], arguments: Mapping[str, Any]) -> None:
    """Go through the targets in batches."""
    targets, atoms, twins = inputs
    (out,) = outs
    if not all(map(is_finite, inputs)):
        out.fill_(float("nan"))
        return
    k: int = arguments["k"]
    size = _batch(len(atoms), max(atoms.shape[1], twins.shape[1]), k)
    for top in range(0, len(targets), size):
        chosen, coefficients = pursue(targets[top : top + size], atoms, k)
        out[top : top + size] = (coefficients.unsqueeze(1) @ twins[chosen]).squeeze(1)


def pursue(targets: Tensor, atoms: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Which k of the atoms (s, d) make up each target (t, d), and how much of each: (t, k) numbers and coefficients.

    k is at most s. An atom that came after the residual was nothing has the coefficient 0.
    """
    import torch

    count, width = targets.shape
    basis = targets.new_zeros(count, k, width)
    triangle = torch.eye(k, dtype=targets.dtype, device=targets.device).repeat(count, 1, 1)
    along = targets.new_zeros(count, k)
    chosen = torch.zeros(count, k, dtype=torch.long, device=targets.device)
    taken = torch.zeros(count, len(atoms), dtype=torch.bool, device=targets.device)
    residual, lengths = targets.clone(), targets.norm(dim=1)
    for step in range(k):
        scores = (residual @ atoms.T).abs_().masked_fill_(taken, -1.0)
        chosen[:, step] = scores.max(dim=1).indices
        taken.scatter_(1, chosen[:, step : step + 1], value=True)
        atom = atoms[chosen[:, step]]
        fresh, inside = _outside(atom, basis[:, :step])
        length = fresh.norm(dim=1)
        useful = (residual.norm(dim=1) > _NOTHING * lengths) & (length > _NOTHING * atom.norm(dim=1))
        basis[:, step] = torch.where(
            useful[:, None], fresh / length.where(useful, torch.ones_like(length))[:, None], 0.0
        )
        triangle[:, :step, step] = inside
        triangle[:, step, step] = length.where(useful, torch.ones_like(length))
        along[:, step] = (basis[:, step] * residual).sum(dim=1)
        residual -= along[:, step, None] * basis[:, step]
    return chosen, torch.linalg.solve_triangular(triangle, along.unsqueeze(2), upper=True).squeeze(2)


def _outside(vectors: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """What of vectors (t, d) is outside of orthonormal ones (t, n, d), and how much is along each: (t, d) and (t, n).

    Twice, since the first time leaves what rounding made of almost parallel ones.
    """
    first = (basis @ vectors.unsqueeze(2)).squeeze(2)
    rest = vectors - (first.unsqueeze(1) @ basis).squeeze(1)
    again = (basis @ rest.unsqueeze(2)).squeeze(2)
    return rest - (again.unsqueeze(1) @ basis).squeeze(1), first + again
