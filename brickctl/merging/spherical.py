"""Methods whose result is a linear combination of the inputs, its coefficients a function of their inner products.

Angles and lengths are all that these methods know of their inputs, and both are in the Gram matrix. So each tensor is
read once for that small matrix and once for the sum; what an iteration does, it does to coefficients.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal, cast

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.merging.linear import weighted_sum, weighted_sum_formula
from brickctl.merging.method import MergeMethod, method_named
from brickctl.tensors.gram import gram, gram_of_columns, products
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region
    from brickctl.merging.method import Block, Declared, Part
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Value

Along = Literal["tensor", "row", "column"]
"""What is one vector: a whole tensor, or each row or column of its view as (prod(shape[:-1]), shape[-1])."""

SCRATCH = 24
"""Bytes for each element of a block while inner products of rows are made."""


class SphericalMethod(MergeMethod):
    """A merge method that defines `coefficients` instead of `combine`."""

    @property
    def along(self) -> Along:
        """What is one vector."""
        return "tensor"

    def coefficients(self, products: Array, weights: Sequence[float]) -> Array:
        """One factor for each input: (n, m) from the inner products (n, n, m) of m vectors of each; all finite."""
        raise NotImplementedError

    def statistics(self, inputs: Sequence[Node], weights: Sequence[float]) -> tuple[Node, ...]:
        """The coefficients (n, 1) or (n, columns); those of rows are found where the rows are combined."""
        along = self._along(inputs[0])
        if along == "row":
            return ()
        count = len(inputs)
        found = gram(inputs) if along == "tensor" else gram_of_columns(inputs)
        parameters = dataclasses.asdict(self)  # type: ignore[call-overload]  # every subclass is a dataclass
        op = Op.make("merge.coefficients", 1, method=self.declared.name, parameters=parameters, weights=list(weights))
        return (Map(Spec(DType.F64, (count, found.spec.columns)), op, (Input(found, Access.COLUMNS),)),)

    def combine(self, block: Block, out: Tensor) -> None:
        """Multiply by the coefficients, and sum up."""
        if block.statistics:
            (found,) = block.statistics
            across = found if found.shape[1] == 1 else found[:, block.region.left : block.region.right]
            factors = [row.reshape(1, -1) for row in across]
        else:
            factors = [row.reshape(-1, 1) for row in _of_rows(self, block.inputs, block.weights)]
        weighted_sum(block.inputs, [one.item() if one.numel() == 1 else one for one in factors], out)

    def formula(self, inputs: Sequence[Value], weights: Sequence[float], statistics: Sequence[Array]) -> Value | None:
        """The same for one element, where each tensor is one vector."""
        del weights
        if not statistics or statistics[0].shape[1] != 1:
            return None
        return weighted_sum_formula(inputs, statistics[0][:, 0].tolist())

    def node(self, parts: Sequence[Part], tensor: str) -> Node:
        """As of any method; blocks span all columns where each row is one vector."""
        combined = super().node(parts, tensor)
        if isinstance(combined, Map) and self._along(combined) == "row":
            return dataclasses.replace(combined, whole_rows=True)
        return combined

    def _along(self, node: Node) -> Along:
        """A tensor of one dimension is one vector."""
        return self.along if len(node.spec.shape) > 1 else "tensor"


@kernel("merge.coefficients", scratch=256, overwrites=False, arrays=True)
def run_coefficients(inputs: Sequence[Array], out: Array, arguments: Mapping[str, Any], block: Region) -> None:
    """The coefficients of a method (n, m) from inner products (n * n, m)."""
    del block
    declared = cast("Declared", method_named(arguments["method"]))  # this very method has made the plan
    method = cast("SphericalMethod", declared.method(**arguments["parameters"]))
    weights = arguments["weights"]
    out[...] = _finite_or_nan(method, inputs[0].reshape(len(weights), len(weights), -1), weights)


def _of_rows(method: SphericalMethod, inputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The coefficients of each row, some rows at a time to bound the memory: (n, rows)."""
    import torch

    some = (slice(top, top + _ROWS) for top in range(0, inputs[0].shape[0], _ROWS))
    found = ([block[rows] for block in inputs] for rows in some)
    each = [_finite_or_nan(method, products(part, dim=1).numpy(), weights) for part in found]
    return torch.cat([torch.from_numpy(one) for one in each], dim=1)


_ROWS = 4096


def _finite_or_nan(method: SphericalMethod, products: Array, weights: Sequence[float]) -> Array:
    """NaN where an inner product is none, so that what was NaN or infinite can never look like an angle."""
    import numpy as np

    with np.errstate(all="ignore"):
        finite = np.isfinite(products).all(axis=(0, 1))
        if not finite.any():
            return np.full_like(products[0], math.nan)
        found = method.coefficients(np.where(finite, products, 1.0), weights)
        return np.where(finite, found, math.nan)


def lengths(products: Array) -> Array:
    """The length of each vector: (n, m)."""
    import numpy as np

    return np.sqrt(products.diagonal().T)


def cosines(products: Array) -> Array:
    """The cosine of the angle between any two vectors: (n, n, m); 0 where one of them is 0, itself included.

    Exactly 1 or -1 for vectors that are equal or opposite.
    """
    import numpy as np

    squares, sizes = products.diagonal().T, lengths(products)
    both = sizes[np.newaxis] * sizes[:, np.newaxis]
    alike = squares[np.newaxis] == squares[:, np.newaxis]
    divisor = np.where(alike, squares[np.newaxis], both)
    found = products / np.where(divisor > 0.0, divisor, 1.0)
    return np.where(divisor > 0.0, found, 0.0).clip(-1.0, 1.0)


def length_of(coefficients: Sequence[float], cosine: Sequence[Sequence[float]]) -> float:
    """The length of sum_i c_i u_i, from the cosines between the units u_i; the order of the units does not matter."""
    count = range(len(coefficients))
    square = math.fsum(cosine[i][j] * (coefficients[i] * coefficients[j]) for i in count for j in count)
    return math.sqrt(max(square, 0.0))
