"""Typed keyword parameters: the fields of a dataclass read from a table, and described for people.

The fields of a merge method (or of anything else that people parametrise) are its manifest keys, its help text and its
reference page at once. Supported: `bool`, `int`, `float`, `Literal[...]` of strings, and numbers
`Annotated` with an `Interval`, with `Varying`, or with both.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from brickctl.core.document import Table
from brickctl.core.names import did_you_mean
from brickctl.core.numbers import Number, Scalar, parse_number

if TYPE_CHECKING:
    from collections.abc import Mapping

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


@dataclass(frozen=True, slots=True)
class Varying:
    """Marks a number that may be a gradient over depth or a list of filters; `each`: and another for each brick."""

    each: bool = False


Scale = Annotated[float, Varying()]
"""A factor on a result."""

Fraction = Annotated[float, Interval(0.0, 1.0), Varying()]
"""A share, in [0, 1]."""

Density = Annotated[float, Interval(0.0, 1.0, open_below=True), Varying(each=True)]
"""A fraction of entries that are kept, in (0, 1]."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as people see it."""

    name: str
    type: str
    default: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen(Generic[_T]):
    """What a manifest chose for the fields of a dataclass: values, and numbers that depend on the tensor."""

    declared: type[_T]
    values: Mapping[str, Any]
    numbers: Mapping[str, Number]

    def at(self, name: str, depth: float) -> _T:
        """The dataclass for the tensor `name` at `depth` in [0, 1]; every number must say something about it."""
        found = {field: number.at(name, depth) for field, number in self.numbers.items()}
        return self.declared(**self.values, **found)

    def document(self) -> dict[str, Any]:
        """Every field as JSON, but those that each brick has for itself."""
        own = {name: self.numbers[name].document() for name in self.numbers if name not in each_of(self.declared)}
        return {**self.values, **own}


def describe(declared: type) -> tuple[Parameter, ...]:
    """The parameters of a dataclass, in the order of its fields."""
    hints = _hints(declared)
    return tuple(Parameter(field.name, _words(hints[field.name]), field.default) for field in _fields(declared))


def read(declared: type[_T], table: Table) -> Chosen[_T]:
    """Read the fields of a dataclass from a table; absent keys keep their defaults. Does not finish the table.

    Raises:
        ManifestInvalid: (or whatever the table raises) a value of another type or out of bounds.
    """
    values: dict[str, Any] = {}
    numbers: dict[str, Number] = {}
    hints = _hints(declared)  # type: ignore[arg-type]  # a class is hashable, whatever its instances are
    for field in _fields(declared):
        if _varying(hints[field.name]) is not None:
            default: Any = field.default
            numbers[field.name] = _read_number(table, field.name, hints[field.name]) or Scalar(default)
        else:
            found = _read(table, field.name, hints[field.name])
            values[field.name] = field.default if found is None else found
    return Chosen(declared=declared, values=values, numbers=numbers)


def defaults(declared: type[_T]) -> Chosen[_T]:
    """The choice of somebody who chose nothing."""
    return read(declared, Table({}, file=""))


def read_each(declared: type, table: Table) -> dict[str, Number]:
    """Read what one brick has for itself of the numbers that may differ from brick to brick."""
    hints = _hints(declared)
    found = {name: _read_number(table, name, hints[name]) for name in each_of(declared)}
    return {name: number for name, number in found.items() if number is not None}


def each_of(declared: type) -> tuple[str, ...]:
    """The fields that may be another for each brick."""
    hints = _hints(declared)
    marks = {field.name: _varying(hints[field.name]) for field in _fields(declared)}
    return tuple(name for name, mark in marks.items() if mark is not None and mark.each)


def interval_of(declared: type, name: str) -> Interval | None:
    """The bounds of a field; None where it has none."""
    return _interval(_hints(declared)[name])


def bounded(declared: type) -> dict[str, Interval]:
    """The fields that may be another in each tensor, and lie between two numbers."""
    hints = _hints(declared)
    found = {field.name: _interval(hints[field.name]) for field in _fields(declared) if _varying(hints[field.name])}
    return {name: one for name, one in found.items() if one is not None and math.isfinite(one.high - one.low)}


@cache
def _hints(declared: Any) -> Mapping[str, Any]:
    """The annotations of the fields, evaluated: asked for by each brick in each tensor."""
    return get_type_hints(declared, include_extras=True)


def _varying(hint: Any) -> Varying | None:
    return next((mark for mark in _marks(hint) if isinstance(mark, Varying)), None)


def _marks(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _interval(hint: Any) -> Interval | None:
    return next((mark for mark in _marks(hint) if isinstance(mark, Interval)), None)


def _read_number(table: Table, key: str, hint: Any) -> Number | None:
    number = parse_number(table, key)
    for value in () if number is None else number.values_within():
        _check_bounds(table, key, value, _interval(hint))
    return number


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
    value = _read(table, key, get_args(hint)[0])
    if value is not None:
        _check_bounds(table, key, value, _interval(hint))
    return value


def _read_choice(table: Table, key: str, choices: tuple[str, ...]) -> str | None:
    value = table.string_or_none(key)
    if value is None or value in choices:
        return value
    hint = did_you_mean(value, choices) or f"choose one of {', '.join(choices)}"
    raise table.error(f"{table.named(key)} may not be {value!r}", key=key, hint=hint)


def _check_bounds(table: Table, key: str, value: float, interval: Interval | None) -> None:
    if interval is not None and value not in interval:
        raise table.error(f"{table.named(key)} must lie in {interval}, not {value:g}", key=key)


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(f'"{choice}"' for choice in get_args(hint))
    if get_origin(hint) is Annotated:
        interval, varying = _interval(hint), _varying(hint)
        words = _words(get_args(hint)[0]) + ("" if interval is None else f" in {interval}")
        if varying is None:
            return words
        return f"{words}, over depth or by filter" + ("; also for each brick" if varying.each else "")
    names = {bool: "true or false", int: "integer", float: "number"}
    return names[hint]
