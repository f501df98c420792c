"""LN tuning: norms that were trained, and are saved whole. See arXiv 2312.11420.

tuned = T
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.tensors.arithmetic import subtract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.nodes import Node
    from brickctl.kinds.adapters.module import Module


class LayerNormTuning(AdapterType):
    """Norms, saved whole."""

    name = "LN_TUNING"
    title = "LN tuning"
    parameters = ("ln_tuning_layers.weight", "ln_tuning_layers.bias")

    def read(self, table: Table) -> None:
        """It has no fields of its own."""

    def deltas(self, module: Module, settings: None) -> Mapping[str, Node]:  # noqa: ARG002 - it has none
        """What was trained minus what was there."""
        deltas: dict[str, Node] = {}
        if module.has("ln_tuning_layers.weight"):
            trained = module.tensor("ln_tuning_layers.weight", module.stored.spec.shape)
            deltas["weight"] = subtract(trained, module.stored)
        if module.has("ln_tuning_layers.bias"):
            if module.bias is None:
                raise module.misfit(f"it has a bias for `{module.name}`, and the base has none")
            trained = module.tensor("ln_tuning_layers.bias", module.bias.spec.shape)
            deltas["bias"] = subtract(trained, module.bias)
        return deltas


register(LayerNormTuning())
