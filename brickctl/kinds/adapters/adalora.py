"""AdaLoRA: LoRA with singular values between its factors, whose number training chose. See arXiv 2303.10512.

    delta = alpha / (r + 1e-5) * B (A * E)

A is (r, in), E (r, 1), B (out, r). The r of the scale is the rank that training began with, as PEFT counts it when it
loads, also where training left fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore, number, only_neutral
from brickctl.tensors.arithmetic import scale_rows
from brickctl.tensors.exact import exact_product
from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.nodes import Node
    from brickctl.kinds.adapters.module import Module

_TRAINING = (
    "beta1", "beta2", "corda_config", "deltaT", "eva_config", "init_lora_weights", "loftq_config", "lora_dropout",
    "megatron_config", "megatron_core", "orth_reg_weight", "qalora_group_size", "r", "target_r", "tfinal", "tinit",
    "total_step", "use_rslora", "alpha_pattern",
)  # fmt: skip
_TINY = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaLoraSettings:
    """Alpha; the rank that every module began with; and whether training cut ranks since."""

    alpha: float
    initial_rank: int
    patterns: Mapping[str, int]


class AdaLora(AdapterType):
    """LoRA with singular values between its factors."""

    name = "ADALORA"
    title = "AdaLoRA"
    parameters = ("lora_A", "lora_B", "lora_E")

    def read(self, table: Table) -> AdaLoraSettings:
        """Take AdaLoRA's fields; it has those of LoRA, of which PEFT uses a few."""
        ignore(table, *_TRAINING)
        for field in ("use_dora", "lora_bias", "use_qalora", "use_bdlora"):
            only_neutral(table, field, False, None)  # noqa: FBT003 - the value of a field
        for field in (
            "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication", "lora_ga_config",
            "monteclora_config", "target_parameters", "trainable_token_indices", "velora_config",
        ):  # fmt: skip
            only_neutral(table, field, None, [])
        rank = table.integer_or_none("init_r")
        return AdaLoraSettings(
            alpha=number(table, "lora_alpha", 8.0),
            initial_rank=12 if rank is None else rank,
            patterns=_kept_ranks(table),
        )

    def deltas(self, module: Module, settings: AdaLoraSettings) -> Mapping[str, Node]:
        """One product."""
        down = module.matrix("lora_A", columns=module.inputs)
        rank = down.spec.shape[0]
        up = module.matrix("lora_B", module.outputs, rank)
        values = reshape(module.vector("lora_E", rank), (1, rank))
        expected = settings.patterns.get(module.name, settings.initial_rank)
        if rank != expected:
            raise module.contradiction(f"`{module.name}` has factors of rank {rank}; its configuration says {expected}")
        alpha = settings.alpha if settings.alpha > 0 else float(rank)
        # PEFT divides by the rank that training began with, also where it cut ranks since
        scale = alpha / (settings.initial_rank + _TINY)
        return {"weight": module.restored(exact_product(up, scale_rows(down, values), scale))}


def _kept_ranks(table: Table) -> dict[str, int]:
    """Ranks by module: training keeps some of the first ones, and writes down which."""
    found = None if table.take("rank_pattern") is None else table.table_or_none("rank_pattern")
    kept = {}
    for key in () if found is None else found.keys():
        flags = None if found is None else found.take(key)
        if not isinstance(flags, list) or not all(isinstance(flag, bool) for flag in flags):
            raise table.error(f"{table.named('rank_pattern')} must hold lists of true and false", key="rank_pattern")
        kept[_module_of(key)] = sum(flags)
    return kept


def _module_of(key: str) -> str:
    """The module of a key such as `model.layers.0.self_attn.q_proj.lora_E`."""
    return key.rpartition(".lora_E")[0].removeprefix("base_model.model.") or key


register(AdaLora())
