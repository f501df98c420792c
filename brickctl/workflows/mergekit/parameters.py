"""The parameters of a mergekit recipe: those that its method reads, where mergekit reads them, within our bounds.

mergekit passes over what its method does not read, and over what stands where it does not look. Both are refused here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brickctl.core.parameters import defaults, interval_of
from brickctl.errors import Unsupported
from brickctl.merging.method import methods
from brickctl.workflows.mergekit.methods import METHODS, PARAMETERS, Switches
from brickctl.workflows.mergekit.numbers import Rules, read_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table

_AT_THE_TOP = "mergekit reads it at the top of the recipe only: move it there, or remove it"
_ELSEWHERE = "mergekit ignores it with this method: remove it, or choose the method that it belongs to"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one `parameters` says.

    Attributes:
        numbers: rules by mergekit's names; none where nothing is said.
        switches: those that are said.
        ignored: what is read, and changes no number.
    """

    numbers: Mapping[str, Rules] = field(default_factory=dict)
    switches: Switches = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


NOTHING_SAID = Settings()


def read_settings(table: Table | None, method: str, *, shared: bool) -> Settings:
    """Read the parameters at the top of a recipe (`shared`), or of one model.

    Raises:
        UsageFault: a key that the method does not read, or not here, or a value that cannot be.
        Unsupported: a value that mergekit takes and brickctl does not.
    """
    if table is None:
        return NOTHING_SAID
    declared = METHODS[method]
    here = {name: number for name, number in declared.numbers.items() if shared or number.each}
    numbers = {name: _read_number(table, name, method) for name in here}
    switches = _read_switches(table, method) if shared else {}
    ignored = tuple(name for name in declared.ignored if shared and table.boolean_or_none(name) is not None)
    _refuse_others(table, method, shared=shared)
    table.finish()
    return Settings(
        numbers={name: rules for name, rules in numbers.items() if rules}, switches=switches, ignored=ignored
    )


def _read_switches(table: Table, method: str) -> Switches:
    declared = METHODS[method]
    said = {name: table.boolean_or_none(name) for name in declared.switches}
    all_of_them = {name: default if said[name] is None else said[name] for name, default in declared.switches.items()}
    for idle, other in declared.idle.items():
        if all_of_them[idle] and all_of_them[other]:
            hint = f"write `{other}: false` beside it, or remove it"
            raise table.error(f"{table.named(idle)} has no effect while `{other}` is true", key=idle, hint=hint)
    return {name: value for name, value in said.items() if value is not None}


def _read_number(table: Table, key: str, method: str) -> Rules:
    """The rules of a setting, every number within the bounds of ours."""
    rules = read_rules(table, key)
    ours = METHODS[method].numbers[key].ours
    if ours == "weight":
        return rules
    declared = methods()[method].method
    single = defaults(declared).values.get(ours)
    if single is not None and any(rule.part is not None or not isinstance(rule.value, float) for rule in rules):
        raise Unsupported(
            f"`{key}` can only be one number here", place=table.place(key), hint="the same for all layers"
        )
    interval = interval_of(declared, ours)
    for rule in rules:
        for value in rule.value if isinstance(rule.value, tuple) else (rule.value,):
            if isinstance(single, int) and not value.is_integer():
                raise table.error(f"{table.named(key)} must be whole, not {value:g}", key=key)
            if interval is not None and value not in interval:
                raise table.error(f"{table.named(key)} must lie in {interval}, not {value:g}", key=key)
    return rules


def _refuse_others(table: Table, method: str, *, shared: bool) -> None:
    """Refuse what mergekit would pass over, by what it is."""
    declared = METHODS[method]
    read = declared.keys if shared else tuple(name for name, number in declared.numbers.items() if number.each)
    for key in PARAMETERS:
        present = table.has(key) and key not in read
        table.take(key)
        if present:
            hint = _AT_THE_TOP if key in declared.keys else _ELSEWHERE
            raise table.error(f"{table.named(key)} has no effect", key=key, hint=hint)
