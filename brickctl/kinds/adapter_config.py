"""`adapter_config.json`, read strictly: a field that could change the formula and is not known is refused.

PEFT itself warns about fields that a newer PEFT wrote and goes on without them, which can change what is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import Table, shown
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.module_pattern import matches_end, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "adapter_config.json"

_WITHOUT_EFFECT = (
    "auto_mapping", "corda_config", "eva_config", "exclude_modules", "inference_mode", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_dropout", "megatron_config", "megatron_core", "peft_version",
    "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type",
)  # fmt: skip
"""Fields of a LoRA configuration that matter for training only, or repeat what the tensors say."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "kasa_config": (None,),
    "layer_replication": (None, []),
    "lora_bias": (False,),
    "lora_ga_config": (None,),
    "monteclora_config": (None,),
    "target_parameters": (None, []),
    "trainable_token_indices": (None,),
    "use_bdlora": (None, False),
    "use_qalora": (False,),
    "velora_config": (None,),
}
"""Fields that change the formula, and the values with which they do not."""

_HARMLESS_INITIALISATIONS = (True, False, "gaussian", "orthogonal", "eva", "mica")
_PEFT_ALPHA = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """What of a LoRA configuration the formula needs.

    The delta of a module is s * B A with s = alpha / r, or alpha / sqrt(r) with `rslora`; patterns override alpha and r
    by module name, the first match in the order of the file winning.
    """

    rank: int
    alpha: float
    rslora: bool = False
    dora: bool = False
    rank_pattern: Mapping[str, float]
    alpha_pattern: Mapping[str, float]
    modules_to_save: tuple[str, ...] = ()
    ties_weights: bool = False
    base: str | None = None

    def rank_of(self, module: str) -> int:
        """The rank that the configuration gives a module."""
        return int(_first_match(self.rank_pattern, module, self.rank))

    def scale_of(self, module: str, rank: int) -> float:
        """The factor s on B A."""
        alpha = _first_match(self.alpha_pattern, module, self.alpha)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def read_lora_config(name: str, document: Mapping[str, Any]) -> LoraConfig:
    """Read the configuration of the adapter `name`.

    Raises:
        Unsupported: another PEFT type, or a field with a value that this brickctl does not compute.
        Misfit: a field has the wrong type.
    """
    table = Table(document, file=f"{FILE} of `{name}`", fault=Misfit)
    _refuse_other_types(name, table.string_or_none("peft_type") or "LORA")
    for field in _WITHOUT_EFFECT:
        table.take(field)
    for field, values in _NEUTRAL.items():
        value = table.take(field)
        if table.has(field) and not any(value is neutral or value == neutral for neutral in values):
            raise _unsupported(name, f"`{field} = {shown(value)}`")
    _check_initialisation(name, table.take("init_lora_weights") if table.has("init_lora_weights") else True)
    alpha = table.number_or_none("lora_alpha")
    config = LoraConfig(
        rank=table.integer("r"),
        alpha=_PEFT_ALPHA if alpha is None else alpha,
        rslora=table.boolean_or_none("use_rslora") or False,
        dora=table.boolean_or_none("use_dora") or False,
        rank_pattern=_read_pattern(table, "rank_pattern"),
        alpha_pattern=_read_pattern(table, "alpha_pattern"),
        modules_to_save=_strings(table, "modules_to_save"),
        ties_weights=table.boolean_or_none("ensure_weight_tying") or False,
        base=_string(table, "base_model_name_or_path"),
    )
    _refuse_unknown(name, table)
    return config


def declared_base(document: Mapping[str, Any]) -> str | None:
    """The base that an adapter names, if it names one."""
    value = document.get("base_model_name_or_path")
    return value if isinstance(value, str) and value and value.isprintable() else None


def _unsupported(name: str, what: str) -> Unsupported:
    return Unsupported(
        f"`{name}` is an adapter that this brickctl cannot merge exactly",
        causes=(f"{what} in its {FILE} changes what is computed, and is not built yet",),
        hint="merge it with PEFT into a full model first, and use that as an expert",
    )


def _refuse_other_types(name: str, peft_type: str) -> None:
    if peft_type != "LORA":
        raise _unsupported(name, f"`peft_type = {shown(peft_type)}`")


def _check_initialisation(name: str, value: Any) -> None:
    if not any(value is harmless or value == harmless for harmless in _HARMLESS_INITIALISATIONS):
        what = f"`init_lora_weights = {shown(value)}`, which replaces the base's weights when PEFT loads it,"
        raise _unsupported(name, what)


def _refuse_unknown(name: str, table: Table) -> None:
    try:
        table.finish()
    except Misfit as unknown:
        reason = "it may come from a newer PEFT and change what is computed"
        hint = "upgrade brickctl, or save the adapter again with PEFT 0.21"
        raise Unsupported(f"`{name}`: {unknown.message}", causes=(reason,), hint=hint) from None


def _strings(table: Table, key: str) -> tuple[str, ...]:
    return () if table.take(key) is None else table.strings_or_none(key) or ()


def _string(table: Table, key: str) -> str | None:
    return None if table.take(key) is None else table.string_or_none(key)


def _read_pattern(table: Table, key: str) -> dict[str, float]:
    pattern = None if table.take(key) is None else table.table_or_none(key)
    if pattern is None:
        return {}
    found = {}
    for expression in pattern.keys():  # noqa: SIM118 - not a dict; the order of the file decides
        reason = unreadable(expression)
        if reason is not None:
            raise table.error(f"{table.named(key)} has `{shown(expression)}`, {reason}")
        value = pattern.number_or_none(expression)
        if value is None or value <= 0:
            raise table.error(f"{table.named(key)} must give a positive number for `{shown(expression)}`")
        found[expression] = value
    return found


def _first_match(pattern: Mapping[str, float], module: str, default: float) -> float:
    """PEFT's rule: the first key of the pattern that matches the end of the module's name."""
    return next((value for expression, value in pattern.items() if matches_end(expression, module)), default)
