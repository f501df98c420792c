"""Matrices with more rows or columns, which are copies: what reads the copies takes a share from each.

Of `after` channels the first `before` are the old ones. Copy number k, from 0, is one of channel floor(k * before /
(after - before)): so many different ones as there can be, evenly, in order.

A channel that is there c times, itself included, is shared by powers of two: with p the largest that is not above c,
the first 2p - c of them have 1/p each, and the others 1/(2p). That adds up to 1, and no bit of a number is rounded when
it is halved, as it would be if it were divided by 3. (Below the smallest normal number, 2^-14 in float16 and 2^-126
otherwise, bits are lost all the same.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.core.rows import RowMap
from brickctl.tensors.kernels import kernel
from brickctl.tensors.views import gather_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region


@dataclass(frozen=True, slots=True)
class Widening:
    """From `before` channels to `after`, which are more."""

    before: int
    after: int

    @property
    def copied(self) -> tuple[int, ...]:
        """Which channel each of the copies is one of."""
        added = self.after - self.before
        return tuple(number * self.before // added for number in range(added))

    @property
    def sources(self) -> tuple[int, ...]:
        """Which of the old channels each of the new ones is."""
        return (*range(self.before), *self.copied)

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of each of the new channels."""
        counts = [1] * self.before
        for channel in self.copied:
            counts[channel] += 1
        met = [0] * self.before
        shares = []
        for channel in self.sources:
            shares.append(_share(met[channel], counts[channel]))
            met[channel] += 1
        return tuple(shares)


def _share(number: int, count: int) -> float:
    """The share of one of `count` equal channels."""
    power = 1 << (count.bit_length() - 1)
    return 1 / power if number < 2 * power - count else 0.5 / power


def widen_rows(node: Node, widening: Widening) -> Node:
    """A matrix (before, columns) with its copied rows below it: (after, columns)."""
    return gather_rows((node,), _row_map(widening))


def copied_rows(node: Node, widening: Widening) -> Node:
    """The copies alone that `widen_rows` puts below a matrix (before, columns): (after - before, columns)."""
    return gather_rows((node,), _copies(widening))


def widen_columns(node: Node, widening: Widening, *, shared: bool) -> Node:
    """A matrix (rows, before), or a vector, with its copied columns behind it: (rows, after).

    `shared`: each column is multiplied by its share.
    """
    spec = Spec(node.spec.dtype, (*node.spec.shape[:-1], widening.after))
    op = Op.make("widen-columns", 1, before=widening.before, after=widening.after, shared=shared)
    return Map(spec, op, (Input(node, Access.AMONG),))


@lru_cache(maxsize=4)
def _row_map(widening: Widening) -> RowMap:
    return RowMap.of((0, row) for row in widening.sources)


@lru_cache(maxsize=4)
def _copies(widening: Widening) -> RowMap:
    return RowMap.of((0, row) for row in widening.copied)


@lru_cache(maxsize=4)
def _columns(widening: Widening) -> tuple[Any, Any]:
    """Sources and shares, for the blocks of many tensors."""
    import torch

    return torch.tensor(widening.sources), torch.tensor(widening.shares, dtype=torch.float64)


@kernel("widen-columns", overwrites=False)
def run_widen(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Copy the columns of the block, and multiply them by their shares."""
    import torch

    sources, shares = _columns(Widening(arguments["before"], arguments["after"]))
    torch.index_select(inputs[0], 1, sources[block.left : block.right], out=out)
    if arguments["shared"]:
        out.mul_(shares[block.left : block.right].to(out.dtype))
