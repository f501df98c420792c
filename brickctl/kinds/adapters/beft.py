"""BEFT: a vector that is added to the bias of a module. See PEFT's `BeftLayer` and arXiv 2509.15974.

bias = bias + b
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore
from brickctl.tensors.arithmetic import scaled
from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.nodes import Node
    from brickctl.kinds.adapters.module import Module


class Beft(AdapterType):
    """A vector on the bias."""

    name = "BEFT"
    title = "BEFT"
    parameters = ("beft_bias",)

    def read(self, table: Table) -> None:
        """Its one field of its own matters for training only."""
        ignore(table, "init_weights")

    def deltas(self, module: Module, settings: None) -> Mapping[str, Node]:  # noqa: ARG002 - it has none
        """The vector."""
        if module.bias is None:
            raise module.misfit(f"it changes the bias of `{module.name}`, and the base has none")
        vector = reshape(module.vector("beft_bias", module.outputs), (module.outputs,))
        return {"bias": scaled(vector, 1.0)}


register(Beft())
