"""KnOTS: TIES not entry by entry of the weights, but in directions that the deltas have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from brickctl.core.parameters import Density, Scale
from brickctl.core.regions import BLOCK_ELEMENTS
from brickctl.merging.election import ELECTION_SCRATCH, Divide, Elect, elected_sum
from brickctl.merging.whole_matrices import Deltas, WholeMatrixMethod, whole_matrix_method
from brickctl.tensors.spectral import NEGLIGIBLE, common_directions, common_directions_bytes, rows_of, signs
from brickctl.tensors.top_k import keep_largest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.low_rank import Turned
    from brickctl.merging.method import Block, Part


@whole_matrix_method("knots", laws=[], reference="https://arxiv.org/abs/2410.19735", scratch=ELECTION_SCRATCH)
class Knots(WholeMatrixMethod):
    """TIES of aligned deltas, made for LoRA adapters, whose entries share no axes but whose output directions do.

    out = scale * U M. U diag(s) [V_1 ... V_n] is the singular value decomposition of the deltas d_i = tuned_i - base
    side by side (rows, n * columns), U (rows, r); c_i = diag(s) V_i = U^T d_i (r, columns) is what delta i does in
    these directions, and M (r, columns) their TIES: t_i is c_i with all but its floor(density * r * columns) largest
    magnitudes (at least one; equal ones by index) set to 0, and M = sum_i m_i w_i t_i / sum_i m_i, with m_i = 1 where
    w_i t_i has the sign of sum_i w_i t_i (0 elects plus; an entry of 0 has no sign), else 0. Where the divisor is 0 the
    sum stays undivided. Each column of U has its largest entry positive; values s below 2^-27 of the largest, and
    entries below 2^-27 of the largest of their c_i, count as 0, since rounding alone gives them a sign and so a vote
    (the published code cuts s at 1e-5, whatever the size of the deltas). Where several s are equal their directions are
    LAPACK's choice, and the order of the bricks may matter. Experts in one tensor (experts, rows, columns) are
    matrices, each for itself; kernels of convolutions are seen as (first, all other dimensions). Vectors get TIES entry
    by entry, t_i then being d_i trimmed. A brick that does not change a tensor takes part with a delta of zeros.

    Args:
        density: fraction of the entries of c_i that each delta keeps.
        elect: `weighted` elects the sign of sum_i w_i t_i, `unweighted` that of sum_i t_i (an entry then agrees by the
            sign of t_i), `count` the sign that more of the w_i t_i have.
        divide: by the `count` of those that agree, by their `weight`, or by nothing.
        scale: factor on the result.
    """

    flattens: ClassVar[bool] = True
    density: Density = 1.0
    elect: Elect = "weighted"
    divide: Divide = "count"
    scale: Scale = 1.0

    def merge(self, deltas: Deltas, out: Tensor) -> None:
        """Find the directions, then see each delta in them."""
        import torch

        directions = common_directions(deltas.plain, len(out), out.shape[1] * len(deltas.weights))
        directions *= signs(directions)
        merged = self._elected(deltas, (torch.mm(directions.T, delta) for delta in deltas.plain()), out)
        for block in rows_of(out.T)():  # `merged` is the upper part of it
            block.copy_(block[:, : len(merged)] @ directions.T)
        out.mul_(self.scale)

    def merge_turned(self, deltas: Deltas, turned: Turned, outs: Sequence[Tensor]) -> None:
        """Find the directions among the cores; what each delta does in them has as many columns as the tensor."""
        import torch

        left, right = outs
        rank = left.shape[1]
        inside = common_directions(deltas.plain, rank, rank * len(deltas.weights))
        directions = torch.mm(turned.left, inside)
        turns = signs(directions)
        across = (inside * turns).T
        right.zero_()
        merged = self._elected(deltas, (torch.mm(across @ core, turned.right) for core in deltas.plain()), right)
        merged.mul_(self.scale)
        left.zero_()[:, : len(merged)].copy_(directions.mul_(turns))

    def _elected(self, deltas: Deltas, aligned: Iterator[Tensor], out: Tensor) -> Tensor:
        """M, of all the c_i, in the first rows of `out`."""
        trimmed = [_trimmed(one, settings["density"]) for one, settings in zip(aligned, deltas.settings, strict=True)]
        merged = out[: len(trimmed[0])]
        if merged.numel():
            elected_sum(trimmed, deltas.weights, merged, elect=self.elect, divide=self.divide)
        return merged

    def room(self, rows: int, columns: int, settings: Sequence[Mapping[str, float]]) -> int:
        """A delta, and the directions; or they, all deltas in them, magnitudes of one, and a delta or the result."""
        count = len(settings)
        rank = min(rows, columns * count)
        seen = 8 * rows * rank + 8 * columns * (rank * (count + 1) + rows) + ELECTION_SCRATCH * BLOCK_ELEMENTS
        return max(common_directions_bytes(rows, columns * count, columns), seen)

    def room_turned(self, rows: int, columns: int, rank: int, settings: Sequence[Mapping[str, float]]) -> int:
        """The directions; all deltas in them, and the magnitudes of one."""
        count = len(settings)
        seen = 8 * rank * (rows + columns * (count + 1)) + ELECTION_SCRATCH * BLOCK_ELEMENTS
        return max(common_directions_bytes(rank, rank * count, rank), seen)

    def prepare(self, part: Part, tensor: str) -> Node:
        """Trim a vector."""
        del tensor
        density = part.settings["density"]
        if density == 1.0:
            return part.node
        return keep_largest(part.node, max(1, math.floor(density * part.node.spec.elements)))

    def combine(self, block: Block, out: Tensor) -> None:
        """Elect entry by entry."""
        elected_sum(block.inputs, block.weights, out, elect=self.elect, divide=self.divide)
        out.mul_(self.scale)


def _trimmed(matrix: Tensor, density: float) -> Tensor:
    """Set to 0 what is negligible, and all but the largest entries; overwrites the matrix."""
    entries = matrix.view(-1)
    if not len(entries):
        return matrix
    magnitudes = entries.abs()
    least = NEGLIGIBLE * float(magnitudes.max())
    edge, surplus = _edge(magnitudes, max(1, math.floor(density * len(entries))))
    for start in range(0, len(entries), BLOCK_ELEMENTS):
        part = entries[start : start + BLOCK_ELEMENTS]
        sizes = part.abs()
        part.mul_((sizes >= edge).logical_and_(sizes > least))
    if surplus and edge > least:
        entries[(entries.abs() == edge).nonzero()[-surplus:]] = 0.0
    return matrix


def _edge(magnitudes: Tensor, count: int) -> tuple[float, int]:
    """The smallest of the `count` largest, and how many equal ones there are too many; reorders the magnitudes.

    NumPy needs no memory for it beside them, and torch, which needs indices, is for devices.
    """
    if count == len(magnitudes):
        return 0.0, 0
    first = len(magnitudes) - count
    if magnitudes.is_cpu:
        magnitudes.numpy().partition(first)
        edge = magnitudes[first]
    else:
        edge = magnitudes.kthvalue(first + 1).values
    return float(edge), int((magnitudes >= edge).count_nonzero()) - count
