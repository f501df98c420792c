"""DELLA without election: drop entries of each delta at random, small ones more often, rescale, sum up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from brickctl.core.parameters import Density, Interval, Scale, Varying
from brickctl.merging.election import Divide, no_mean, plain_formula, plain_sum
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.merging.rescaling import Rescale
from brickctl.merging.thinning import thinned
from brickctl.tensors.draws import stream_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.method import Block, Part
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Value


@merge_method(
    "della_linear", space="delta", laws=["permutation", "scale"], reference="https://arxiv.org/abs/2406.11617"
)
class DellaLinear(MergeMethod):
    """Weighted sum of deltas that each keep some of their entries by chance, large ones more often.

    out = scale * sum_i w_i r_i b_i d_i, all of the shape of the tensor: d_i = tuned_i - base, b_i is 1 with probability
    density - e + 2 e r / (m - 1), else 0, where r is the place of the entry in its row of m in the order of magnitudes,
    from 0, equal ones by index (a row is the last dimension; the only entry of a row has the probability density), e =
    min(epsilon, density, 1 - density), and r_i = sum |d_i| / sum |b_i d_i| over the whole tensor (1 where nothing is
    left). Which entries are kept depends on the seed, the brick, the method, the tensor and the entry, and on nothing
    else. Where epsilon is too large mergekit refuses; here it is cut.

    Args:
        density: probability with which an entry is kept, on average over a row.
        epsilon: how far from the density it lies at both ends of a row.
        rescale: `l1` is r_i as above; `density` divides by the density, `none` leaves what is kept.
        divide: by the sum of all w_i (`weight`), by the number of deltas (`count`), or by nothing.
        scale: factor on the result.
        seed: of the draws.
    """

    density: Density = 1.0
    epsilon: Annotated[float, Interval(0.0, 1.0), Varying(each=True)] = 0.15
    rescale: Rescale = "l1"
    divide: Divide = "none"
    scale: Scale = 1.0
    seed: int = 0

    def refusal(self, weights: Sequence[float]) -> str | None:
        """Weights that sum to 0 divide nothing."""
        return no_mean(weights, self.divide)

    def prepare_all(self, parts: Sequence[Part], tensor: str) -> Sequence[Node]:
        """Thin the deltas."""
        return thinned(parts, lambda part: stream_key(self.seed, part.brick, self.declared.name, tensor), self.rescale)

    def combine(self, block: Block, out: Tensor) -> None:
        """Sum up, divide, scale."""
        plain_sum(block.inputs, block.weights, out, divide=self.divide)
        if self.scale != 1.0:
            out.mul_(self.scale)

    def formula(self, inputs: Sequence[Value], weights: Sequence[float], statistics: Sequence[Array]) -> Value | None:
        """The same for one element."""
        del statistics
        total = plain_formula(inputs, weights, divide=self.divide)
        return total * self.scale if self.scale != 1.0 else total
