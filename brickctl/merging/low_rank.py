"""Deltas that are all products of two small factors: what is done to whole matrices is done to small cores.

With the factors of all deltas side by side, B = [B_1 ... B_n] = Q T and A^T = [A_1^T ... A_n^T] = P S, Q and P
orthonormal, every delta s_i B_i A_i is Q C_i P^T with a core C_i = s_i T_i S_i^T of R rows and columns, R the sum of
the ranks. Singular values are those of the cores, singular vectors those of the cores turned by Q and P.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from brickctl.tensors.factored import Product, is_zeros, product_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from brickctl.core.nodes import Node

_LEAST = 2
"""How many times higher and wider than all cores together a matrix is at least, for cores to be worth it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """Deltas d_i = left @ cores[i] @ right.

    Attributes:
        left: Q, (rows, R), orthonormal columns.
        cores: n of (R, R) fp64, made anew whenever one is asked for; zeros for a brick that does not change the tensor.
        right: P^T, (R, columns), orthonormal rows.
    """

    left: Tensor
    cores: Sequence[Tensor]
    right: Tensor


def products_of(nodes: Sequence[Node]) -> tuple[Product | None, ...] | None:
    """The factors of every delta, None for one of zeros; None at all unless all are of low rank, also together."""
    found = tuple(map(product_of, nodes))
    if any(one is None and not is_zeros(node) for one, node in zip(found, nodes, strict=True)):
        return None
    rank = total_rank(found)
    return found if 0 < _LEAST * rank <= min(nodes[0].spec.rows, nodes[0].spec.columns) else None


def total_rank(products: Iterable[Product | None]) -> int:
    """R."""
    return sum(one.rank for one in products if one is not None)


def turn(factors: Sequence[Tensor], scales: Sequence[float | None]) -> Turned:
    """Find cores; `factors` are left and right of each product in turn, and a scale is None where there is none."""
    import torch

    left, up = torch.linalg.qr(torch.cat(tuple(factors[::2]), dim=1))
    right, down = torch.linalg.qr(torch.cat(tuple(factors[1::2])).T)
    ends = [0, *accumulate(len(factor) for factor in factors[1::2])]
    spans = iter(pairwise(ends))
    parts = tuple((0, 0, 0.0) if scale is None else (*next(spans), scale) for scale in scales)
    return Turned(left=left, cores=_Cores(up, down, parts), right=right.T)


def turn_bytes(rows: int, columns: int, rank: int) -> int:
    """Bytes that this takes: one side's factors, their copy and Q; the other side's Q; triangles and a core."""
    return 8 * rank * (rows + columns + 2 * max(rows, columns) + 4 * rank)


class _Cores(Sequence["Tensor"]):
    """The core of each delta, made when it is asked for."""

    def __init__(self, up: Tensor, down: Tensor, parts: Sequence[tuple[int, int, float]]) -> None:
        self._up = up
        self._down = down
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, at: Any) -> Any:
        """The core of this number."""
        start, end, scale = self._parts[at]
        return (self._up[:, start:end] @ self._down[:, start:end].T).mul_(scale)


def scales_of(products: Sequence[Product | None]) -> list[float | None]:
    """The scale of each product, as JSON."""
    return [None if one is None else one.scale for one in products]


def factor_nodes(products: Sequence[Product | None]) -> tuple[Node, ...]:
    """Left and right of each product in turn."""
    return tuple(node for one in products if one is not None for node in (one.left, one.right))
