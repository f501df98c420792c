"""`adapter_config.json`, read strictly: a field that could change the formula and is not known is refused.

PEFT itself warns about fields that a newer PEFT wrote and goes on without them, which can change what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import Table, shown
from brickctl.core.names import did_you_mean
from brickctl.errors import Misfit, Unsupported, asked_for
from brickctl.kinds.adapters.adapter_type import AdapterType, Unmergeable, adapter_types, type_named
from brickctl.kinds.adapters.module import SAVE_AGAIN
from brickctl.kinds.adapters.module_pattern import matches_end, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "adapter_config.json"
PATTERN_HINT = "a pattern is the end of a module's name, such as `layers.0.self_attn.q_proj`"

TRAINING_FIELDS = (
    "auto_mapping", "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform",
    "peft_version", "revision", "runtime_config", "target_modules", "task_type",
)  # fmt: skip
"""Fields of every type that matter for training only, or repeat what the tensors or the base say.

PEFT sets `fan_in_fan_out` to what the base's modules are, whatever the file says.
"""


_VARIANTS = {
    "alora_invocation_tokens": Unmergeable(
        name="aLoRA", reason="it acts only on what follows its invocation tokens, so no fixed weights have its effect"
    ),
    "arrow_config": Unmergeable(
        name="Arrow",
        reason="it routes every token to one of several LoRAs, which PEFT 0.21 does not save with it",
        stacks=False,
    ),
}
"""Fields of LoRA that make it another thing where they are set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """A configuration: its type, what the formula of that type needs, and what all types have.

    Attributes:
        type: what knows the formula.
        settings: what `type.read` made of the type's own fields.
        modules_to_save: parts of module paths that are saved whole.
        bias: `none`, `all`, or `TYPE_only`: which biases were trained and are saved whole.
        ties_weights: whether the tied tensors of the base were trained as one.
        base: what the adapter was trained on, as it says.
    """

    type: AdapterType
    settings: Any
    modules_to_save: tuple[str, ...] = ()
    bias: str = "none"
    ties_weights: bool = False
    base: str | None = None


def peft_type(document: Mapping[str, Any]) -> str:
    """The type that a configuration names; PEFT's oldest ones name none and are LoRA."""
    value = document.get("peft_type")
    return value if isinstance(value, str) and value else "LORA"


def read_config(name: str, document: Mapping[str, Any]) -> AdapterConfig:
    """Read the configuration of the adapter `name`.

    Raises:
        Unsupported: a type that cannot be merged, or a field with a value that this brickctl does not compute.
        Misfit: a field has the wrong type.
    """
    reason = why_not_mergeable(document)
    if reason is not None:
        raise not_mergeable(name, reason)
    with asked_for(None, hint=SAVE_AGAIN):
        return _read(name, Table(document, file=f"{FILE} of `{name}`", fault=Misfit))


def _read(name: str, table: Table) -> AdapterConfig:
    adapter_type = _find_type(name, table.string_or_none("peft_type") or "LORA")
    for field in TRAINING_FIELDS:
        table.take(field)
    config = AdapterConfig(
        type=adapter_type,
        settings=adapter_type.read(table),
        modules_to_save=strings(table, "modules_to_save"),
        bias=_string(table, "bias") or "none",
        ties_weights=table.boolean_or_none("ensure_weight_tying") or False,
        base=_string(table, "base_model_name_or_path"),
    )
    _refuse_unknown(table)
    return config


def declared_base(document: Mapping[str, Any]) -> str | None:
    """The base that an adapter names, if it names one."""
    value = document.get("base_model_name_or_path")
    return value if isinstance(value, str) and value and value.isprintable() else None


def base_hint(name: str, base: str | None) -> str:
    """What helps where an adapter does not fit: the model that it says it was trained on, or that it does not say."""
    if base is None:
        return f"`{name}` was probably trained on another model; set [base] to that, or remove `{name}`"
    return f"`{name}` was trained on {shown(base)}; set [base] to it, or remove `{name}`"


def why_not_mergeable(document: Mapping[str, Any]) -> Unmergeable | None:
    """The reason why an adapter has no merged weights, if it has none: its type's, or that of a variant of LoRA."""
    if peft_type(document) == "LORA":
        return next((reason for field, reason in _VARIANTS.items() if document.get(field) is not None), None)
    found = type_named(peft_type(document))
    return found if isinstance(found, Unmergeable) else None


def not_mergeable(name: str, reason: Unmergeable) -> Unsupported:
    """An error about an adapter that has no merged weights, to be raised by the caller."""
    message = f"`{name}` is of type {reason.name} and cannot be merged"
    hint = stack_it(name) if reason.stacks else "use it with the library that made it"
    return Unsupported(message, causes=(reason.reason,), hint=hint)


def stack_it(name: str) -> str:
    """What helps where an adapter can be carried along and not merged."""
    return f'`stack` it instead: {{ op = "stack", bricks = ["{name}"] }}'


def ignore(table: Table, *fields: str) -> None:
    """Take fields that matter for training only."""
    for field in fields:
        table.take(field)


def only_neutral(table: Table, field: str, *values: Any) -> None:
    """Take a field that changes the formula unless it has one of these values.

    Raises:
        Unsupported: it has another value.
    """
    value = table.take(field)
    if table.has(field) and not any(value is neutral or value == neutral for neutral in values):
        raise unsupported(table, f"`{field} = {shown(value)}`")


def unsupported(table: Table, what: str) -> Unsupported:
    """An error about a field, to be raised by the caller."""
    return Unsupported(
        f"{table.file} asks for what this brickctl cannot merge exactly",
        causes=(f"{what} changes what is computed, and is not built",),
        hint="merge it with PEFT into a full model first, and use that as an expert",
    )


def number(table: Table, field: str, default: float) -> float:
    """A number, or PEFT's default where the field is absent or null."""
    if table.take(field) is None:
        return default
    value = table.number_or_none(field)
    return default if value is None else value


def positive(table: Table, field: str) -> int:
    """An integer above 0 that must be there."""
    value = table.integer(field)
    if value <= 0:
        raise table.error(f"{table.named(field)} must be positive", key=field)
    return value


def strings(table: Table, key: str) -> tuple[str, ...]:
    """A list of strings; empty where it is absent or null."""
    return () if table.take(key) is None else table.strings_or_none(key) or ()


@dataclass(frozen=True, slots=True)
class Pattern:
    """Numbers by module name: PEFT's `rank_pattern`, `alpha_pattern` and kin."""

    numbers: Mapping[str, float]

    def at(self, module: str, default: float) -> float:
        """PEFT's rule: the first key of the pattern that matches the end of the module's name."""
        return next((value for expression, value in self.numbers.items() if matches_end(expression, module)), default)


def rank_pattern(table: Table) -> Pattern:
    """The pattern of ranks, which are whole numbers; empty where it is absent or null."""
    found = pattern(table, "rank_pattern")
    for expression, rank in found.numbers.items():
        if not rank.is_integer():
            raise table.error(f"{table.named('rank_pattern')} must give a whole number for `{shown(expression)}`")
    return found


def pattern(table: Table, key: str) -> Pattern:
    """A pattern of positive numbers; empty where it is absent or null."""
    found = None if table.take(key) is None else table.table_or_none(key)
    numbers = {}
    for expression in () if found is None else found.keys():
        reason = unreadable(expression)
        if reason is not None:
            raise table.error(f"{table.named(key)} has `{shown(expression)}`, {reason}", hint=PATTERN_HINT)
        value = None if found is None else found.number_or_none(expression)
        if value is None or value <= 0:
            raise table.error(f"{table.named(key)} must give a positive number for `{shown(expression)}`")
        numbers[expression] = value
    return Pattern(numbers)


def _find_type(name: str, wanted: str) -> AdapterType:
    found = type_named(wanted)
    if not isinstance(found, AdapterType):
        hint = did_you_mean(wanted, adapter_types()) or "upgrade brickctl: it may come from a newer PEFT"
        raise Unsupported(f"`{name}` is an adapter of an unknown type: {shown(wanted)}", hint=hint)
    return found


def _refuse_unknown(table: Table) -> None:
    try:
        table.finish()
    except Misfit as unknown:
        reason = "it may come from a newer PEFT and change what is computed"
        hint = "upgrade brickctl, or save the adapter again with PEFT 0.21"
        raise Unsupported(unknown.message, causes=(reason,), hint=hint) from None


def _string(table: Table, key: str) -> str | None:
    return None if table.take(key) is None else table.string_or_none(key)
