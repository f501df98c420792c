"""HRA: a chain of reflections of the inputs of a module. See arXiv 2405.17484.

    tuned = W H_1 ... H_r, with H_i = I - 2 u_i u_i' and u_i column i of `hra_u` (in, r), scaled to length 1

With `apply_GS` the columns are made orthogonal first, one after another. Reflections are applied to the rows of W
directly, so no matrix (in, in) is made; every sum is added as a binary tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore, positive
from brickctl.tensors.angles import square_root_
from brickctl.tensors.exact import sum_along, sum_of_squares
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.document import Table
    from brickctl.core.regions import Region
    from brickctl.kinds.adapters.module import Module


@dataclass(frozen=True, slots=True, kw_only=True)
class HraSettings:
    """How many reflections, and whether their vectors are made orthogonal."""

    rank: int
    orthogonal: bool


class Hra(AdapterType):
    """A chain of reflections."""

    name = "HRA"
    title = "HRA"
    parameters = ("hra_u",)

    def read(self, table: Table) -> HraSettings:
        """Take HRA's fields."""
        ignore(table, "init_weights")
        return HraSettings(rank=positive(table, "r"), orthogonal=table.boolean_or_none("apply_GS") or False)

    def deltas(self, module: Module, settings: HraSettings) -> Mapping[str, Node]:
        """The reflected weight minus the weight."""
        vectors = module.matrix("hra_u", module.inputs, settings.rank)
        op = Op.make("unit-columns", 1, orthogonal=settings.orthogonal)
        units = Map(Spec(DType.F64, vectors.spec.shape), op, (Input(vectors, Access.ALL),))
        inputs = Input(module.weight), Input(units, Access.ALL)
        spec = Spec(DType.F64, (module.outputs, module.inputs))
        return {"weight": module.restored(Map(spec, Op.make("reflect", 1), inputs, whole_rows=True))}


@kernel("unit-columns", scratch=32)
def run_unit_columns(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """All columns, each of length 1 and, if asked for, at right angles to those before it."""
    columns = inputs[0].double().clone()
    for at in range(columns.shape[1] if arguments["orthogonal"] else 0):
        column = columns[:, at : at + 1]
        for before in range(at):
            unit = columns[:, before : before + 1]
            column.sub_(unit * sum_along(unit * column, dim=0))
        column.div_(square_root_(sum_of_squares(column, dim=0)))
    if not arguments["orthogonal"]:
        columns = columns / square_root_(sum_of_squares(columns, dim=0))
    out.copy_(columns[block.top : block.bottom, block.left : block.right])


@kernel("reflect", scratch=24)
def run_reflect(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block of whole rows: w - 2 (w . u) u for one vector after another, minus what the rows were."""
    del arguments, block
    weight, units = inputs
    out.copy_(weight)
    for unit in units.T:
        along = sum_along(out * unit, dim=1)
        out.sub_(along.mul_(2.0) * unit)
    out.sub_(weight.double())


register(Hra())
