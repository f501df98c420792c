"""HiRA: a low-rank product that scales each weight. See PEFT's `HiraLayer` and OpenReview TwJrTz9cRS.

    delta = W * (B A)

A is (r, in), B (out, r); of an embedding the product is transposed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore
from brickctl.tensors.arithmetic import multiply
from brickctl.tensors.exact import exact_product, exact_product_transposed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.nodes import Node
    from brickctl.kinds.adapters.module import Module


class Hira(AdapterType):
    """A low-rank product that scales each weight."""

    name = "HIRA"
    title = "HiRA"
    parameters = ("hira_A", "hira_B", "hira_embedding_A", "hira_embedding_B")

    def read(self, table: Table) -> None:
        """Take HiRA's fields, of which the formula needs none: PEFT 0.21 writes a rank_pattern and never reads it."""
        ignore(table, "hira_dropout", "init_weights", "r", "rank_pattern")

    def deltas(self, module: Module, settings: None) -> Mapping[str, Node]:  # noqa: ARG002 - it has none
        """The weight times the product."""
        if module.has("hira_embedding_A"):
            tokens, dimensions = module.stored.spec.shape
            down = module.matrix("hira_embedding_A", columns=tokens)
            up = module.matrix("hira_embedding_B", dimensions, down.spec.shape[0])
            return {"weight": multiply(module.stored, exact_product_transposed(up, down, 1.0))}
        down = module.matrix("hira_A", columns=module.inputs)
        up = module.matrix("hira_B", module.outputs, down.spec.shape[0])
        return {"weight": multiply(module.stored, module.restored(exact_product(up, down, 1.0)))}


register(Hira())
