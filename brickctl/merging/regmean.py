"""RegMean: the linear layer whose outputs are nearest to those of all models, each on the inputs that it has seen."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from brickctl.core.nodes import Bundle, Op, Output
from brickctl.core.parameters import Fraction
from brickctl.core.regions import BLOCK_ELEMENTS
from brickctl.errors import Misfit
from brickctl.merging.linear import not_above_zero, weighted_mean, weighted_mean_formula
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.tensors.finite import is_finite
from brickctl.tensors.kernels import bundle_kernel
from brickctl.tensors.spectral import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.method import Block, Part
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Value

_MOST = 1.0 - 2.0**-10
"""What alpha counts as at most: of Gram matrices in fp32 the smallest eigenvalues are noise, of either sign."""


@merge_method(
    "regmean",
    space="weight",
    laws=["permutation", "idempotence"],
    reference="https://arxiv.org/abs/2212.09849",
    law="rounded",
    reproducible="numeric",
    statistic="gram",
)
class RegMean(MergeMethod):
    """Regression mean: the least squares solution for the outputs of each linear layer.

    out = (sum_i w_i W_i H_i) (sum_i w_i H_i)^-1 with W_i (rows, columns) the weights of a linear layer in model i, as
    torch has them, y = W x, and H_i = alpha G_i + (1 - alpha) diag(G_i), where G_i = X^T X / t (columns, columns) is
    the Gram matrix of the inputs X (t, columns) that the layer had for t tokens; the `statistics` of the brick hold it.
    With alpha = 1 it is the W with the least sum_i w_i |X_i (W - W_i)^T|^2 / t_i (Frobenius norms); what is below 1
    shrinks the entries off the diagonal, without which the paper finds results much worse. alpha counts as at most
    1 - 2^-10, so that there always is a solution. What is computed is the change against the weighted mean of all
    models; an input that was 0 for all tokens of all models keeps that mean. Tensors that are no weights of linear
    layers (norms, biases, embeddings, a head that is tied to one, experts in one tensor) get the weighted mean. `base`
    may take part too, with statistics of its own.

    Args:
        alpha: factor on what stands off the diagonals; the paper's value for most models is 0.9.
    """

    alpha: Fraction = 0.9

    def refusal(self, weights: Sequence[float]) -> str | None:
        """Weights of both signs might leave no least square."""
        return not_above_zero(weights)

    def passes_through(self, weights: Sequence[float]) -> bool:
        """Equal layers have equal outputs."""
        del weights
        return True

    def combine(self, block: Block, out: Tensor) -> None:
        """The mean, of what is no linear layer."""
        weighted_mean(block.inputs, block.weights, out)

    def formula(self, inputs: Sequence[Value], weights: Sequence[float], statistics: Sequence[Array]) -> Value | None:
        """The same for one element."""
        del statistics
        return weighted_mean_formula(inputs, weights)

    def node(self, parts: Sequence[Part], tensor: str) -> Node:
        """The solution for a linear layer, as a bundle with one output; or the mean."""
        del tensor
        models, known = [part.node for part in parts], [part.statistic for part in parts if part.statistic is not None]
        if not known or not models[0].spec.elements:
            return self.block_by_block(models, parts, ())
        op = Op.make(
            "merge.regmean",
            1,
            parameters=dataclasses.asdict(self),  # type: ignore[call-overload]  # every subclass is a dataclass
            weights=[part.weight for part in parts],
        )
        return Output(Bundle(op, (*models, *known), (models[0].spec,)), 0)

    def solve(self, inputs: Sequence[Tensor], weights: Sequence[float], out: Tensor) -> None:
        """Write the solution; `inputs` are n weights (rows, columns), then n Gram matrices, each made when asked for.

        Raises:
            Misfit: there is no solution, as something is no Gram matrix.
        """
        total, count = math.fsum(weights), len(weights)
        out.zero_()
        for at, weight in enumerate(weights):
            out.add_(inputs[at].mul_(weight / total))
        squares, target = out.new_zeros(out.shape[1], out.shape[1]), out.new_zeros(out.shape)
        for at, weight in enumerate(weights):
            moved = inputs[at] - out
            gram = self._shrunk(inputs[count + at]).mul_(weight / total)
            squares.add_(gram)
            target.addmm_(moved, gram)
            del moved, gram
        _add_solution(squares, target, out)

    def _shrunk(self, gram: Tensor) -> Tensor:
        diagonal = gram.diagonal().clone()
        gram.mul_(min(self.alpha, _MOST)).diagonal().copy_(diagonal)
        return gram


def _add_solution(squares: Tensor, target: Tensor, out: Tensor) -> None:
    """Add the X (rows, columns) with X S = T, some rows at a time; overwrites S, by its factor.

    Columns of zeros have nothing to solve.
    """
    import torch

    if not is_finite(squares):
        out.fill_(math.nan)  # which the executor refuses, with the names of files
        return
    squares.diagonal().add_(squares.diagonal() == 0.0)
    factor = squares.T  # lies as LAPACK wants it, which then needs no memory of its own
    _, failed = torch.linalg.cholesky_ex(factor, out=(factor, out.new_empty((), dtype=torch.int32)))
    if bool(failed.item()):
        hint = "derive the statistics again"
        raise Misfit("statistics that are no Gram matrices: no input has a negative square", hint=hint)
    for rows, wanted in zip(rows_of(out)(), rows_of(target)(), strict=True):
        half = torch.linalg.solve_triangular(factor.T, wanted, upper=True, left=False)
        rows.add_(torch.linalg.solve_triangular(factor, half, upper=False, left=False))


def _room(bundle: Bundle) -> int:
    """One input, the squares and the target; beside them what a model is from the mean, or rows of the solution."""
    rows, columns = bundle.specs[0].rows, bundle.specs[0].columns
    whole, square = rows * columns, columns * columns
    return 8 * (max(whole, square) + square + whole + max(whole, 2 * max(BLOCK_ELEMENTS, columns)))


@bundle_kernel("merge.regmean", scratch=_room, in_turn=True, movable=True)
def run(inputs: Sequence[Tensor], outs: Sequence[Tensor], arguments: Mapping[str, Any]) -> None:
    """The solution for one linear layer; NaN and infinity stay what they are, and are refused with their files."""
    RegMean(**arguments["parameters"]).solve(inputs, arguments["weights"], outs[0])
