"""WUDI: the sum of deltas, moved so that it interferes as little as it can with what each delta responds to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Op
from brickctl.core.parameters import Interval, Scale
from brickctl.core.regions import BLOCK_ELEMENTS, Access, Spec
from brickctl.merging.whole_matrices import Deltas, WholeMatrixMethod, whole_matrix_method
from brickctl.tensors.kernels import kernel
from brickctl.tensors.spectral import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.core.regions import Region
    from brickctl.merging.low_rank import Turned

_FIRST, _SECOND = 0.9, 0.999
_TINY = 1e-8
"""Adam's decay of the mean gradient and of its mean square, and what keeps its divisor above 0: torch's defaults."""

_PARTS = 8
"""In how many parts a device goes down, which a block would leave idle; in memory that is counted for devices."""

_COLUMNS = 256
"""Columns of a product that are made at once."""


@whole_matrix_method("wudi", laws=["permutation"], reference="https://arxiv.org/abs/2503.08099")
class Wudi(WholeMatrixMethod):
    """Merging without interference, by the rows of each delta as a stand-in for the inputs that it was trained on.

    out = scale * X, with X (rows, columns) what Adam makes of the sum of t_i = w_i d_i, d_i = tuned_i - base, in
    `steps` steps down the gradient of the interference sum_i |(X - t_i) t_i^T|^2 / |t_i|^2 (Frobenius norms). The
    gradient g is 2 (X A - B) with A = sum_i t_i^T t_i / |t_i|^2 (columns, columns) and B = sum_i t_i t_i^T t_i /
    |t_i|^2 (rows, columns), so that one product a step suffices, however many bricks. Adam is torch's: m <- 0.9 m +
    0.1 g, v <- 0.999 v + 0.001 g^2, X <- X - learning_rate (m / (1 - 0.9^step)) / (sqrt(v / (1 - 0.999^step)) + 1e-8),
    m and v being 0 at first. The number of steps belongs to the method: the exact minimum B A^+ also follows the
    weakest directions of A, which are noise, and is known to do worse. Nothing is drawn at random. Deltas of zeros add
    nothing. Experts in one tensor (experts, rows, columns) are matrices, each for itself. What is no matrix (norms,
    biases, kernels of convolutions) gets scale * (1/n) sum_i w_i d_i, as in the published code; a brick that does not
    change a tensor takes part with a delta of zeros.

    Args:
        steps: of Adam; each costs a product of X with A.
        learning_rate: the most that a step moves an entry, about; the published value suits deltas of about 1e-3.
        scale: factor on the result.
    """

    steps: Annotated[int, Interval(0, 1_000_000)] = 300
    learning_rate: Annotated[float, Interval(0.0, 1.0)] = 1e-5
    scale: Scale = 1.0

    def merge(self, deltas: Deltas, out: Tensor) -> None:
        """Gather A and B, one delta after another, then go down, some rows at a time: none depends on another."""
        import torch

        products, target = out.new_zeros(out.shape[1], out.shape[1]), torch.zeros_like(out)
        _gather(deltas, out, products, target)
        size = BLOCK_ELEMENTS if out.is_cpu else max(BLOCK_ELEMENTS, out.numel() // _PARTS)
        for rows, wanted in zip(rows_of(out, size)(), rows_of(target, size)(), strict=True):

            def half_gradient(at: Tensor, out: Tensor, wanted: Tensor = wanted) -> None:
                torch.mm(at, products, out=out).sub_(wanted)

            _go_down(rows, half_gradient, self.steps, self.learning_rate)
        out.mul_(self.scale)

    def merge_turned(self, deltas: Deltas, turned: Turned, outs: Sequence[Tensor]) -> None:
        """Write factors of X at first, (Q S) P^T, of A = P K P^T and of B = (Q L) P^T.

        With c_i = w_i C_i and their norms |c_i|, S = sum_i c_i, K = sum_i c_i^T c_i / |c_i|^2 and L = sum_i c_i c_i^T
        c_i / |c_i|^2.
        """
        import torch

        start, right, target, products = outs
        sums = [products.new_zeros(products.shape) for _ in range(3)]
        _gather(deltas, *sums)
        torch.mm(turned.left, sums[0], out=start)
        torch.mm(turned.left, sums[2], out=target)
        right.copy_(turned.right)
        products.copy_(sums[1])

    def factor_shapes(self, rows: int, columns: int, rank: int) -> tuple[tuple[int, int], ...]:
        """Those, in the order of the kernel's inputs."""
        return (rows, rank), (rank, columns), (rows, rank), (rank, rank)

    def unfolded(self, factors: Sequence[Node]) -> Node:
        """Adam on some rows at a time."""
        start, right, target, products = factors
        op = Op.make("wudi-rows", 1, steps=self.steps, learning_rate=self.learning_rate, scale=self.scale)
        whole = Input(right, Access.ALL), Input(products, Access.ALL)
        entries = Input(start, Access.ROWS), Input(target, Access.ROWS), *whole
        return Map(Spec(DType.F64, (start.spec.rows, right.spec.columns)), op, entries, whole_rows=True)

    def room(self, rows: int, columns: int, settings: Sequence[Mapping[str, float]]) -> int:
        """A and B, a delta, and some columns of the products that are added to them, or Adam's four of some rows."""
        del settings
        parts = 8 * max(4 * max(BLOCK_ELEMENTS, columns), 2 * _COLUMNS * (rows + columns))
        return 8 * (columns * columns + 3 * rows * columns) + parts


@kernel("wudi-rows", law="rounded", scratch=40, overwrites=False)
def run_rows(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Adam on some rows of X, which are (Q S) P^T at first, with A = P K P^T and B = (Q L) P^T given by factors."""
    import torch

    del block
    start, target, right, products = inputs

    def half_gradient(at: Tensor, out: Tensor) -> None:
        torch.mm((at @ right.T @ products).sub_(target), right, out=out)

    torch.mm(start, right, out=out)
    _go_down(out, half_gradient, arguments["steps"], arguments["learning_rate"])
    out.mul_(arguments["scale"])


def _go_down(out: Tensor, half_gradient: Callable[[Tensor, Tensor], object], steps: int, learning_rate: float) -> None:
    """Adam, overwriting where it started; X A - B is half of the gradient."""
    import torch

    mean, square = torch.zeros_like(out), torch.zeros_like(out)
    gradient, part = torch.empty_like(out), torch.empty_like(out)
    for first, second in _corrections(steps):
        half_gradient(out, gradient)
        gradient.mul_(2.0)
        mean.mul_(_FIRST).add_(torch.mul(gradient, 1.0 - _FIRST, out=part))
        square.mul_(_SECOND).add_(torch.mul(gradient, gradient, out=part).mul_(1.0 - _SECOND))
        torch.div(square, second, out=part).sqrt_().add_(_TINY)
        out.sub_(torch.div(mean, part, out=part).mul_(learning_rate / first))


def _gather(deltas: Deltas, out: Tensor, products: Tensor, target: Tensor) -> None:
    """Write the sum of all t, A and B."""
    import torch

    out.zero_()
    for delta in deltas.weighted():
        out.add_(delta)
        largest = float(torch.linalg.vector_norm(delta, math.inf))
        if largest > 0.0:
            _add_products(delta, largest, products, target)


def _add_products(delta: Tensor, largest: float, products: Tensor, target: Tensor) -> None:
    """Add t^T t / |t|^2 to A, and t t^T t / |t|^2 to B; overwrites the delta t, which is brought near 1 first."""
    import torch

    unit = delta.div_(largest)
    norm = float(torch.linalg.vector_norm(unit))
    unit.div_(norm)
    for start in range(0, unit.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        product = unit.T @ unit[:, part]
        products[:, part].add_(product)
        target[:, part].add_((unit @ product).mul_(norm).mul_(largest))


def _corrections(steps: int) -> Iterator[tuple[float, float]]:
    """What Adam's means are divided by at each step."""
    for step in range(1, steps + 1):
        yield 1.0 - math.pow(_FIRST, step), 1.0 - math.pow(_SECOND, step)
