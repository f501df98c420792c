"""VeRA: two vectors for each module around a pair of frozen random matrices that all modules share. arXiv 2310.11454.

    delta = (lambda_b * B[:out]) (lambda_d * A[:, :in])

A is (r, widest in), B (widest out, r). An adapter without the two matrices is refused: PEFT draws them anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.errors import Unsupported
from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore
from brickctl.tensors.arithmetic import corner, scale_rows
from brickctl.tensors.exact import exact_product

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.nodes import Node, Stored
    from brickctl.kinds.adapters.module import Module


class Vera(AdapterType):
    """Two trained vectors around random matrices."""

    name = "VERA"
    title = "VeRA"
    parameters = ("vera_lambda_b", "vera_lambda_d")
    shared = ("vera_A", "vera_B")

    def read(self, table: Table) -> int:
        """Take VeRA's fields; gives the rank."""
        ignore(table, "d_initial", "init_weights", "vera_dropout")
        refuse_projections_that_are_drawn_anew(table)
        return table.integer("r")

    def deltas(self, module: Module, settings: int) -> Mapping[str, Node]:
        """One product."""
        down, up = _matrix(module, "vera_A"), _matrix(module, "vera_B")
        if down.spec.shape[0] < settings or down.spec.columns < module.inputs:
            raise module.misfit(f"vera_A has shape {list(down.spec.shape)}; `{module.name}` has {module.inputs} inputs")
        if up.spec.shape[0] < module.outputs or up.spec.columns != down.spec.shape[0]:
            raise module.misfit(f"vera_B has shape {list(up.spec.shape)}; `{module.name}` has {module.outputs} outputs")
        rank = down.spec.shape[0]
        left = scale_rows(corner(up, module.outputs, rank), module.vector("vera_lambda_b", module.outputs))
        right = scale_rows(corner(down, rank, module.inputs), module.vector("vera_lambda_d", rank))
        return {"weight": module.restored(exact_product(left, right, 1.0))}


def _matrix(module: Module, name: str) -> Stored:
    """One of the two matrices that all modules share."""
    found = module.common(name)
    if len(found.spec.shape) != 2:  # noqa: PLR2004 - rows and columns
        raise module.contradiction(f"{name} has shape {list(found.spec.shape)}, which is no matrix")
    return found


def refuse_projections_that_are_drawn_anew(table: Table) -> None:
    """Take the fields that say where the random matrices come from.

    Raises:
        Unsupported: from a random generator, anew at every load.
    """
    ignore(table, "projection_prng_key")
    if table.boolean_or_none("save_projection") is False:
        cause = "`save_projection = false`: its random matrices are not in the file, and another PyTorch draws others"
        hint = "save it again with save_projection=True where it was trained"
        raise Unsupported(f"{table.file} leaves a part of the adapter to chance", causes=(cause,), hint=hint)


register(Vera())
