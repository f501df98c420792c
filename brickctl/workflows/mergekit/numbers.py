"""Parameters of a mergekit recipe, as numbers of brick.toml that say the same for every tensor.

Two things differ. mergekit's filters are parts of names, ours are globs over whole names. And mergekit gives everything
outside of the layers, the final norm and the head too, the first value of a gradient; ours gives those two the last.
(A model of one layer is the exception that stays: mergekit gives that layer the last value, ours the first.)
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from brickctl.core.document import shown
from brickctl.core.numbers import Filtered, Gradient, Number, Rule, Scalar

if TYPE_CHECKING:
    from brickctl.core.document import Table

IN_LAYERS = "*.[0-9]*.*"
"""A glob for the tensors of the layers: only their names have a number between dots."""

_AFTER_LAYERS = ("model.norm.weight", "transformer.ln_f.weight", "final_layernorm.weight", "final_layer_norm.bias")
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")


@dataclass(frozen=True, slots=True)
class Condition:
    """One setting: a part of names (None: all of them), and the number or gradient there."""

    part: str | None
    value: float | tuple[float, ...]


Rules = tuple[Condition, ...]
"""Conditions in order; the first whose part is in the name counts."""


def read_rules(table: Table, key: str) -> Rules:
    """Read a setting: a number, a list of numbers over depth, or one or several tables of `filter` and `value`.

    Raises:
        UsageFault: (or whatever the table raises) none of these.
    """
    value = table.take(key)
    if value is None:
        return ()
    if isinstance(value, dict):
        inner = table.table_or_none(key)
        return () if inner is None else (_read_condition(inner),)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return tuple(_read_condition(entry) for entry in table.tables_or_none(key) or ())
    return (Condition(None, _read_value(table, key, value)),)


def _read_condition(entry: Table) -> Condition:
    part = None if entry.take("filter") is None else entry.string("filter")
    value = _read_value(entry, "value", entry.take("value"))
    entry.finish()
    return Condition(None if part == "*" else part, value)


def _read_value(table: Table, key: str, value: Any) -> float | tuple[float, ...]:
    if not isinstance(value, list):
        return _read_number(table, key, value)
    if not value:
        raise table.error(f"{table.named(key)} is an empty list", key=key)
    values = tuple(_read_number(table, key, entry) for entry in value)
    return values if len(values) > 1 else values[0]


def _read_number(table: Table, key: str, value: Any) -> float:
    """A number; YAML reads `1e-3` as text, and mergekit as the number that was meant."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise table.error(f"{table.named(key)} has `{shown(value)}`, which is no number", key=key) from None
    return table.finite(key, value)


Where = Literal["model", "layers", "layer", "outside"]
"""What a number is for: a whole model, several layers of a slice, its only layer, or what lies outside of all layers.

Over the layers of a slice a gradient runs from its first value to its last; a single layer has the last, and what lies
outside has the first.
"""


def translate(*scopes: Rules, where: Where = "model") -> Number | None:
    """The number that says what these settings say, those of the first scope going before the others.

    None where some tensor is left without a value: mergekit demands one for each.
    """
    conditions: list[Condition] = []
    for condition in (condition for scope in scopes for condition in scope):
        conditions.append(condition)
        if condition.part is None:  # nothing behind it is ever looked at
            break
    if not conditions or conditions[-1].part is not None:
        return None
    rules = tuple(rule for condition in conditions for rule in _rules(condition, where))
    return rules[0].value if len(rules) == 1 else Filtered(rules)


def _rules(condition: Condition, where: Where) -> tuple[Rule, ...]:
    part, value = condition.part, condition.value
    everywhere = None if part is None else f"*{glob.escape(part)}*"
    if isinstance(value, float):
        return (Rule(everywhere, Scalar(value)),)
    if where != "model":
        found = Gradient(value) if where == "layers" else Scalar(value[-1] if where == "layer" else value[0])
        return (Rule(everywhere, found),)
    first = Rule(everywhere, Scalar(value[0]))
    if part is not None and any(part in name for name in _HEADS) and not _reaches_norm(part):
        return (first,)
    if value[0] == value[-1] or not _reaches_norm(part):
        return (Rule(everywhere, Gradient(value)),)
    inside = IN_LAYERS if part is None else f"{IN_LAYERS}{glob.escape(part)}*"
    return Rule(inside, Gradient(value)), first


def _reaches_norm(part: str | None) -> bool:
    """Whether a setting may speak of the final norm, where the two kinds of gradient differ."""
    return part is None or any(part in name for name in _AFTER_LAYERS)
