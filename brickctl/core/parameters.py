"""Typed keyword parameters: the fields of a dataclass read from a table, and described for people.

The fields of a merge method (or of anything else that people parametrise) are its manifest keys, its help text and its
reference page at once. Supported: `bool`, `int`, `float`, `Literal[...]` of strings, `Annotated[float, Interval(...)]`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from brickctl.core.names import did_you_mean

if TYPE_CHECKING:
    from brickctl.core.document import Table

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of a number, both included unless `open_below`."""

    low: float
    high: float
    open_below: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_below else value >= self.low
        return above and value <= self.high

    def __str__(self) -> str:
        return f"{'(' if self.open_below else '['}{self.low:g}, {self.high:g}]"


Density = Annotated[float, Interval(0.0, 1.0, open_below=True)]
"""A fraction of entries that are kept, in (0, 1]."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as people see it."""

    name: str
    type: str
    default: Any


def describe(declared: type) -> tuple[Parameter, ...]:
    """The parameters of a dataclass, in the order of its fields."""
    hints = get_type_hints(declared, include_extras=True)
    return tuple(Parameter(field.name, _words(hints[field.name]), field.default) for field in _fields(declared))


def read(declared: type[_T], table: Table) -> _T:
    """Read the fields of a dataclass from a table; absent keys keep their defaults. Does not finish the table.

    Raises:
        ManifestInvalid: (or whatever the table raises) a value of another type or out of bounds.
    """
    hints = get_type_hints(declared, include_extras=True)
    found = {field.name: _read(table, field.name, hints[field.name]) for field in _fields(declared)}
    return declared(**{name: value for name, value in found.items() if value is not None})


def _fields(declared: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(declared)


def _read(table: Table, key: str, hint: Any) -> Any:
    if hint is bool:
        return table.boolean_or_none(key)
    if hint is int:
        return table.integer_or_none(key)
    if hint is float:
        return table.number_or_none(key)
    if get_origin(hint) is Literal:
        return _read_choice(table, key, get_args(hint))
    return _read_bounded(table, key, *get_args(hint))


def _read_choice(table: Table, key: str, choices: tuple[str, ...]) -> str | None:
    value = table.string_or_none(key)
    if value is None or value in choices:
        return value
    hint = did_you_mean(value, choices) or f"choose one of {', '.join(choices)}"
    raise table.error(f"{table.named(key)} may not be {value!r}", key=key, hint=hint)


def _read_bounded(table: Table, key: str, kind: Any, interval: Interval) -> Any:
    value = _read(table, key, kind)
    if value is not None and value not in interval:
        raise table.error(f"{table.named(key)} must lie in {interval}, not {value:g}", key=key)
    return value


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(f'"{choice}"' for choice in get_args(hint))
    if get_origin(hint) is Annotated:
        kind, interval = get_args(hint)
        return f"{_words(kind)} in {interval}"
    names = {bool: "true or false", int: "integer", float: "number"}
    return names[hint]
