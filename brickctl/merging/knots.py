"""KnOTS: TIES not entry by entry of the weights, but in directions that the deltas have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from brickctl.core.parameters import Density, Scale
from brickctl.merging.election import ELECTION_SCRATCH, Divide, Elect, elected_sum
from brickctl.merging.whole_matrices import Deltas, WholeMatrixMethod, whole_matrix_method
from brickctl.tensors.spectral import NEGLIGIBLE, common_directions, common_directions_bytes, signs
from brickctl.tensors.top_k import keep_largest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.low_rank import Turned
    from brickctl.merging.method import Block, Part


_TRIMMING = 32
"""Bytes that trimming takes for each entry."""


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
    (the published code cuts s at 1e-5, whatever the size of the deltas). Where several s are equal their directions
    are LAPACK's choice, and the order of the bricks may matter. Kernels of convolutions are seen as (first, all other
    dimensions). Vectors get TIES entry by entry, t_i then being d_i trimmed. A brick that does not change a tensor
    takes part with a delta of zeros.

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

        directions = common_directions(deltas.plain(), len(out), out.shape[1] * len(deltas.weights))
        directions *= signs(directions)
        across = directions.T.contiguous()
        merged = self._elected(deltas, (torch.mm(across, delta) for delta in deltas.plain()))
        torch.mm(directions, merged, out=out).mul_(self.scale)

    def merge_turned(self, deltas: Deltas, turned: Turned, left: Tensor, right: Tensor) -> None:
        """Find the directions among the cores; what each delta does in them has as many columns as the tensor."""
        import torch

        rank = left.shape[1]
        inside = common_directions(deltas.plain(), rank, rank * len(deltas.weights))
        directions = torch.mm(turned.left, inside)
        turns = signs(directions)
        across = (inside * turns).T
        merged = self._elected(deltas, (torch.mm(across @ core, turned.right) for core in deltas.plain()))
        left.zero_()[:, : len(merged)].copy_(directions.mul_(turns))
        right.zero_()[: len(merged)].copy_(merged.mul_(self.scale))

    def _elected(self, deltas: Deltas, aligned: Iterator[Tensor]) -> Tensor:
        """M, of all the c_i."""
        import torch

        trimmed = [_trimmed(one, settings["density"]) for one, settings in zip(aligned, deltas.settings, strict=True)]
        merged = torch.empty_like(trimmed[0])
        if merged.numel():
            elected_sum(trimmed, deltas.weights, merged, elect=self.elect, divide=self.divide)
        return merged

    def room(self, rows: int, columns: int, settings: Sequence[Mapping[str, float]]) -> int:
        """The directions twice; all deltas in them, and what an election takes, or the trimming of one."""
        rank = min(rows, columns * len(settings))
        aligned = rank * columns * (8 * (len(settings) + 1) + max(ELECTION_SCRATCH, _TRIMMING))
        return 16 * rows * rank + max(common_directions_bytes(rows, columns * len(settings), columns), aligned)

    def room_turned(self, rows: int, columns: int, rank: int, settings: Sequence[Mapping[str, float]]) -> int:
        """The directions; all deltas in them, as above."""
        aligned = rank * columns * (8 * (len(settings) + 1) + max(ELECTION_SCRATCH, _TRIMMING))
        return 8 * rows * rank + max(common_directions_bytes(rank, rank * len(settings), rank), aligned)

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
    entries.mul_(magnitudes > NEGLIGIBLE * magnitudes.max())
    count = max(1, math.floor(density * len(entries)))
    if count < len(entries):
        edge = magnitudes.kthvalue(len(entries) - count + 1).values
        above, tied = magnitudes > edge, magnitudes == edge
        first = tied.cumsum(0) <= count - above.sum()
        entries.mul_(above.logical_or_(tied.logical_and_(first)))
    return matrix
