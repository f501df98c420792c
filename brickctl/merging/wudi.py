"""WUDI: the sum of deltas, moved so that it interferes as little as it can with what each delta responds to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from brickctl.core.nodes import BLOCK_ELEMENTS
from brickctl.core.parameters import Interval, Scale
from brickctl.merging.whole_matrices import Deltas, WholeMatrixMethod, whole_matrix_method
from brickctl.tensors.spectral import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

_FIRST, _SECOND = 0.9, 0.999
_TINY = 1e-8
"""Adam's decay of the mean gradient and of its mean square, and what keeps its divisor above 0: torch's defaults."""

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
    nothing. What is no matrix (norms, biases, kernels of convolutions) gets scale * (1/n) sum_i w_i d_i, as in the
    published code; a brick that does not change a tensor takes part with a delta of zeros.

    Args:
        steps: of Adam; each costs a product of X with A.
        learning_rate: the most that a step moves an entry, about; the published value suits deltas of about 1e-3.
        scale: factor on the result.
    """

    keeps_low_rank: ClassVar[bool] = False

    steps: Annotated[int, Interval(0, 1_000_000)] = 300
    learning_rate: Annotated[float, Interval(0.0, 1.0)] = 1e-5
    scale: Scale = 1.0

    def merge(self, deltas: Deltas, out: Tensor) -> None:
        """Gather A and B, one delta after another, then go down, some rows at a time: none depends on another."""
        import torch

        products, target = out.new_zeros(out.shape[1], out.shape[1]), torch.zeros_like(out)
        _gather(deltas, out, products, target)
        for rows, wanted in zip(rows_of(out)(), rows_of(target)(), strict=True):
            self._go_down(rows, products, wanted)
        out.mul_(self.scale)

    def _go_down(self, out: Tensor, products: Tensor, target: Tensor) -> None:
        """Adam, overwriting where it started."""
        import torch

        mean, square = torch.zeros_like(out), torch.zeros_like(out)
        gradient, part = torch.empty_like(out), torch.empty_like(out)
        for first, second in _corrections(self.steps):
            torch.mm(out, products, out=gradient).sub_(target).mul_(2.0)
            mean.mul_(_FIRST).add_(torch.mul(gradient, 1.0 - _FIRST, out=part))
            square.mul_(_SECOND).add_(torch.mul(gradient, gradient, out=part).mul_(1.0 - _SECOND))
            torch.div(square, second, out=part).sqrt_().add_(_TINY)
            out.sub_(torch.div(mean, part, out=part).mul_(self.learning_rate / first))

    def room(self, rows: int, columns: int, settings: Sequence[Mapping[str, float]]) -> int:
        """A and B, a delta, and some columns of the products that are added to them, or Adam's four of some rows."""
        del settings
        parts = 8 * max(4 * max(BLOCK_ELEMENTS, columns), 2 * _COLUMNS * (rows + columns))
        return 8 * (columns * columns + 3 * rows * columns) + parts


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
