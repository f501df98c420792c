"""Reading an analysis: every part may be missing, and every number may be unknown.

A number that is not finite, such as the perplexity of a model that was pruned to pieces, is unknown too: it would have
no place in a plot. Keys that are not known are passed over, so that a page can be made of a later brickctl's analysis.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from brickctl.core.document import Table, shown
from brickctl.errors import UsageFault
from brickctl.pages.numerals import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FILE = "analysis.json"
SCHEMA = 1
Row = tuple[float | None, ...]
Matrix = tuple[Row, ...]
_DEEPEST = 12
_LONGEST_NAME = 200


def opened(document: Mapping[str, Any]) -> Table:
    """The document, to be read.

    Raises:
        UsageFault: it has no schema, or one that this brickctl does not know.
    """
    table = Table(_known(document), file=FILE, fault=UsageFault)
    schema = table.integer("schema")
    if schema != SCHEMA:
        message = f"the analysis has schema {schema}; this brickctl reads schema {SCHEMA}"
        raise table.error(message, key="schema", hint="update brickctl, or analyse the model again")
    return table


def tables(table: Table, key: str) -> tuple[Table, ...]:
    """A list of tables; empty where it is missing."""
    return table.tables_or_none(key) or ()


def names(table: Table, key: str) -> tuple[str, ...]:
    """A list of names that tell things apart, each on one line; empty where it is missing."""
    values = tuple(_name(table, key, value) for value in _list(table, key))
    if len(dict.fromkeys(values)) != len(values):
        raise table.error(f"{table.named(key)} has a name twice", key=key)
    return values


def name(table: Table, key: str) -> str | None:
    """One name."""
    value = table.take(key)
    return None if value is None else _name(table, key, value)


def row(table: Table, key: str, length: int | None = None) -> Row:
    """A list of numbers, as many as `length`; empty where it is missing."""
    values = _list(table, key)
    if values and length is not None and len(values) != length:
        raise table.error(f"{table.named(key)} must have {length} numbers, not {len(values)}", key=key)
    return _numbers(table, key, values)


def matrix(table: Table, key: str, columns: int) -> Matrix:
    """A list of lists of `columns` numbers each; empty where it is missing."""
    lines = _list(table, key)
    if any(not isinstance(line, list) or len(line) != columns for line in lines):
        raise table.error(f"{table.named(key)} must be rows of {columns} numbers", key=key)
    return tuple(_numbers(table, key, line) for line in lines)


def square(table: Table, key: str, size: int) -> Matrix:
    """A matrix with as many rows as columns; empty where it is missing."""
    rows = matrix(table, key, size)
    if rows and len(rows) != size:
        raise table.error(f"{table.named(key)} must have {size} rows, not {len(rows)}", key=key)
    return rows


def mapping(table: Table, key: str) -> dict[str, float]:
    """Numbers by name, in the order of the document; those that are unknown are left out."""
    below = table.table_or_none(key)
    if below is None:
        return {}
    numbers = {one: below.number_or_none(raw) for one, raw in keys(below).items()}
    return {one: value for one, value in numbers.items() if value is not None}


def keys(table: Table) -> dict[str, str]:
    """The keys of a table by how they are shown, which is how `names` shows them."""
    return {shown(raw, longest=_LONGEST_NAME): raw for raw in table}


def integer(table: Table, key: str) -> str:
    """A whole number as it is shown."""
    return count(table.integer_or_none(key))


def by_layer(pairs: Iterable[tuple[int, float | None]]) -> tuple[tuple[int, float], ...]:
    """The mean of what is known of each layer, by its number: the experts of a layer count alike."""
    found: dict[int, list[float]] = {}
    for layer, value in pairs:
        if value is not None:
            found.setdefault(layer, []).append(value)
    return tuple((layer, math.fsum(values) / len(values)) for layer, values in sorted(found.items()))


def experts_of(rows: Sequence[Table]) -> int:
    """How many experts a layer has at most; 0 for a dense model."""
    return len(dict.fromkeys(one.integer_or_none("expert") for one in rows if one.has("expert")))


def _known(value: Any, depth: int = 0) -> Any:
    """The document without what is unknown: null is no key, and in a list it stays as a hole."""
    if isinstance(value, dict) and depth < _DEEPEST:
        parts = {key: _known(part, depth + 1) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not None}
    if isinstance(value, (list, tuple)) and depth < _DEEPEST:
        return [_known(part, depth + 1) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _list(table: Table, key: str) -> list[Any]:
    value = table.take(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise table.error(f"{table.named(key)} must be a list", key=key)
    return value


def _numbers(table: Table, key: str, values: Iterable[Any]) -> Row:
    return tuple(None if value is None else table.finite(key, value) for value in values)


def _name(table: Table, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise table.error(f"{table.named(key)} must be text", key=key)
    return shown(value, longest=_LONGEST_NAME)
