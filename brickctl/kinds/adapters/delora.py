"""DeLoRA: a low-rank product of unit vectors with one trained strength. See arXiv 2503.18225.

    delta = n * (B diag(lambda / r / (|A_i| |B_i|)) A)

A is (r, in), B (out, r), lambda one number, n (in) the saved norms of the base's columns.
Lengths below 1e-4 count as 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import Pattern, ignore, positive, rank_pattern
from brickctl.tensors.angles import square_root_
from brickctl.tensors.arithmetic import scale_columns, scale_rows
from brickctl.tensors.exact import exact_product, sum_of_squares
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.document import Table
    from brickctl.core.regions import Region
    from brickctl.kinds.adapters.module import Module


_SHORTEST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class DeloraSettings:
    """The rank and its pattern; the strength is saved with each module."""

    rank: int
    rank_pattern: Pattern


class Delora(AdapterType):
    """A product of unit vectors with one strength."""

    name = "DELORA"
    title = "DeLoRA"
    parameters = ("delora_A", "delora_B", "delora_lambda", "delora_w_norm")

    def read(self, table: Table) -> DeloraSettings:
        """Take DeLoRA's fields."""
        ignore(table, "delora_lambda", "init_weights", "lambda_pattern", "module_dropout")
        return DeloraSettings(rank=positive(table, "r"), rank_pattern=rank_pattern(table))

    def deltas(self, module: Module, settings: DeloraSettings) -> Mapping[str, Node]:
        """The product, its columns times the norms of the base's."""
        rank = int(settings.rank_pattern.at(module.name, settings.rank))
        down = module.matrix("delora_A", rank, module.inputs)
        up = module.matrix("delora_B", module.outputs, rank)
        strength = module.vector("delora_lambda", 1)
        inputs = tuple(Input(node, Access.ALL) for node in (down, up, strength))
        factors = Map(Spec(DType.F64, (1, rank)), Op.make("delora-factors", 1), inputs)
        product = exact_product(up, scale_rows(down, factors), 1.0)
        return {"weight": module.restored(scale_columns(product, module.vector("delora_w_norm", module.inputs)))}


@kernel("delora-factors")
def run_factors(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Strength of each pair: lambda / r / (|A_i| |B_i|)."""
    del arguments, block
    down, up, strength = (matrix.double() for matrix in inputs)
    rows, columns = square_root_(sum_of_squares(down, dim=1).T), square_root_(sum_of_squares(up, dim=0))
    lengths = rows.clamp_(min=_SHORTEST) * columns.clamp_(min=_SHORTEST)
    out.copy_(strength / down.shape[0] / lengths)


register(Delora())
