"""Tensors that are weighted sums, in fp32, with terms that are made once: for those who try many weights in turn.

A term that is a product of two small factors, as the delta of a LoRA is, is never multiplied out: it is added to what
is there in one call, and takes no more memory than the adapter itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.dtypes import DType
from brickctl.tensors.factored import product_of
from brickctl.tensors.linear_terms import terms_before_rounding

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch

    from brickctl.core.nodes import Node
    from brickctl.tensors.whole_tensors import WholeTensors

ROOM = 4 << 30
"""Bytes of terms that are kept, in fp32; those that come later are made again each time."""


@dataclass(frozen=True, slots=True)
class _Factors:
    """A term scale * left @ right, (rows, r) and (r, columns), fp32."""

    left: torch.Tensor
    right: torch.Tensor
    scale: float

    @property
    def nbytes(self) -> int:
        return self.left.nbytes + self.right.nbytes

    def add_to(self, out: torch.Tensor, factor: float) -> None:
        out.addmm_(self.left, self.right, alpha=self.scale * factor)


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A term as it is, (rows, columns), fp32."""

    matrix: torch.Tensor

    @property
    def nbytes(self) -> int:
        return self.matrix.nbytes

    def add_to(self, out: torch.Tensor, factor: float) -> None:
        out.add_(self.matrix, alpha=factor)


class LinearTensors:
    """Makes nodes that are sums of `terms`, which are those that are the same from one call to the next.

    The result differs from that of `WholeTensors` by the rounding of fp32: an element in some thousands of a bf16
    tensor has its neighbour's value.
    """

    def __init__(self, whole: WholeTensors, terms: Collection[Node], *, room: int = ROOM) -> None:
        self._whole = whole
        self._terms = terms
        self._room = room
        self._kept: dict[Node, _Factors | _Matrix] = {}

    def tensor(self, node: Node) -> torch.Tensor | None:
        """The whole node, in its own type and shape; None where it is no sum of these terms.

        Raises:
            Misfit: a term holds NaN or infinity.
        """
        import torch

        dtype = node.spec.dtype
        terms = terms_before_rounding(node)
        if dtype is DType.F64 or not dtype.is_mergeable or any(term not in self._terms for term in terms):
            return None
        out = torch.zeros(node.spec.rows, node.spec.columns, dtype=torch.float32)
        for term, factor in terms.items():
            self._made(term).add_to(out, factor)
        return out.to(getattr(torch, str(dtype.torch_name))).view(node.spec.shape)

    def _made(self, node: Node) -> _Factors | _Matrix:
        found = self._kept.get(node)
        if found is None:
            found = self._make(node)
            if found.nbytes <= self._room:
                self._kept[node] = found
                self._room -= found.nbytes
        return found

    def _make(self, node: Node) -> _Factors | _Matrix:
        product = product_of(node)
        if product is None:
            return _Matrix(self._whole.tensor(node).float().view(node.spec.rows, node.spec.columns))
        left, right = (self._whole.tensor(factor).float() for factor in (product.left, product.right))
        return _Factors(left, right, product.scale)
