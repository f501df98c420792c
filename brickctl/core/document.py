"""Reading tables that people and servers write, strictly: what is not asked for is refused, never passed over.

A reader asks a `Table` for the keys that it knows and calls `finish` at the end. So the keys that a reader knows are
written down exactly once, where they are read, and a misspelt key can be told from a known one without a schema.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, TypeVar

import tomli

from brickctl.core.lines import locate
from brickctl.core.names import did_you_mean, nearest
from brickctl.errors import ManifestInvalid, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.lines import KeyPath, Lines
    from brickctl.errors import BrickctlError

_T = TypeVar("_T")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LARGEST_INTEGER = 2**63 - 1
_LONGEST_SHOWN = 80
_TWICE = ("Cannot overwrite a value", "Cannot declare")

WHOLE = 4096
"""How long a path is shown that somebody must find again, or a label that must not be taken for another."""


def shown(value: Any, *, longest: int = _LONGEST_SHOWN) -> str:
    """A value from outside as a message may show it: one line, not long, nothing that a terminal would obey."""
    if isinstance(value, str):
        text = value if value.isprintable() else json.dumps(value)
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = ascii(value) if isinstance(value, (int, float)) and _is_short(value) else _kind_of(value)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def describe(path: KeyPath) -> str:
    """A table as a message names it: `[base]`, `[targets.chat] apply[0]`, `checks[2]`, or the top of the file."""
    if not path:
        return "the top of the file"
    first_index = next((at for at, part in enumerate(path) if isinstance(part, int)), None)
    if first_index is None:
        return f"[{_dotted(path)}]"
    header, rest = path[: first_index - 1], path[first_index - 1 :]
    return f"[{_dotted(header)}] {_dotted(rest)}" if header else _dotted(rest)


def read_toml(text: str, *, file: str, fault: type[BrickctlError] = ManifestInvalid, numbered: bool = True) -> Table:
    """Parse a TOML text into a table that knows its lines, if they are `numbered`: if somebody can look at them.

    Raises:
        BrickctlError: of the type `fault`: the text is not TOML; the place is the line where parsing ended.
    """
    try:
        return Table(tomli.loads(text), file=file, lines=locate(text) if numbered else None, fault=fault)
    except tomli.TOMLDecodeError as error:
        place = Place(file=file, line=error.lineno)
        raise fault(f"{file} is not TOML", causes=(_reason(error),), place=place) from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits; brackets in brackets in brackets
        raise fault(f"{file} is not TOML", causes=(shown(str(error)),), place=Place(file=file)) from None


def _reason(error: tomli.TOMLDecodeError) -> str:
    """What the parser says; it names no key that stands twice, so what stands on its line is shown."""
    if error.msg.startswith(_TWICE):
        line = error.doc.split("\n")[error.lineno - 1]
        key = line.partition("=")[0].strip()
        return f"`{shown(key)}` stands twice" if "=" in line or key.startswith("[") else "a key stands twice"
    return f"{error.msg} (column {error.colno})"


class Table:
    """One untrusted table of a TOML or JSON document while it is read.

    Asking for a key makes it known, present or not; `finish` refuses every key that was never asked for. All errors are
    of the type `fault` and name the file and, where `lines` has it, the line.
    """

    __slots__ = ("_asked", "_values", "fault", "file", "lines", "path")

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        file: str,
        lines: Lines | None = None,
        path: KeyPath = (),
        fault: type[BrickctlError] = ManifestInvalid,
    ) -> None:
        self._values = values
        self._asked: dict[str, None] = {}  # a dict, not a set: hints list keys in the order of asking
        self.file = file
        self.lines = lines
        self.path = path
        self.fault = fault

    def __repr__(self) -> str:
        return f"Table({describe(self.path)} of {self.file})"

    def __iter__(self) -> Iterator[str]:
        """The keys, as `keys` gives them."""
        return iter(self._values)

    @property
    def where(self) -> str:
        """The table as a message names it; the file itself for what stands at its top level."""
        return describe(self.path) if self.path else self.file

    def named(self, key: str) -> str:
        """A key as a message names it: `weight` in [targets.chat] apply[0]."""
        return f"`{shown(key)}` in {self.where}"

    def has(self, key: str) -> bool:
        """Whether the key is there; does not make it known."""
        return key in self._values

    def keys(self) -> tuple[str, ...]:
        """Every key that is there, in the order of the document; does not make them known."""
        return tuple(self._values)

    def take(self, key: str) -> Any:
        """The raw value; None when it is absent."""
        self._asked[key] = None
        return self._values.get(key)

    def string(self, key: str) -> str:
        """A string that must be there."""
        return self._required(key, self.string_or_none(key))

    def string_or_none(self, key: str) -> str | None:
        """A string: printable, on one line."""
        return self._text(key, self._typed(key, str, "a string"))

    def integer(self, key: str) -> int:
        """An integer that must be there."""
        return self._required(key, self.integer_or_none(key))

    def integer_or_none(self, key: str) -> int | None:
        """An integer of at most 64 bits."""
        value = self._typed(key, int, "an integer")
        if value is not None and abs(value) > _LARGEST_INTEGER:
            raise self.error(f"{self.named(key)} is too large", key=key)
        return value

    def number_or_none(self, key: str) -> float | None:
        """A finite number, integer or not."""
        value = self.take(key)
        return self.finite(key, value) if self.has(key) else None

    def boolean_or_none(self, key: str) -> bool | None:
        """True or false."""
        return self._typed(key, bool, "true or false")

    def strings_or_none(self, key: str) -> tuple[str, ...] | None:
        """A list of strings."""
        values = self._list_of(key, str, "strings")
        if values is not None:
            for value in values:
                self._text(key, value)
        return values

    def table_or_none(self, key: str) -> Table | None:
        """A table, to be read and finished by the caller."""
        values: dict[str, Any] | None = self._typed(key, dict, "a table")
        return None if values is None else self._below(values, key)

    def tables_or_none(self, key: str) -> tuple[Table, ...] | None:
        """A list of tables, each to be read and finished by the caller."""
        tables: tuple[dict[str, Any], ...] | None = self._list_of(key, dict, "tables")
        return None if tables is None else tuple(self._below(table, key, at) for at, table in enumerate(tables))

    def finite(self, key: str, value: Any) -> float:
        """`value`, found under `key`, as a finite float."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(key, "a number", value)
        if not _is_short(value) or not math.isfinite(value):
            raise self.error(f"{self.named(key)} must be a finite number", key=key)
        return float(value)

    def fresh(self) -> Table:
        """The same table as if nobody had read it."""
        return Table(self._values, file=self.file, lines=self.lines, path=self.path, fault=self.fault)

    def without(self, key: str) -> Table:
        """The same table, unread, without one of its keys: for the next reader, who need not know that key."""
        rest = {name: value for name, value in self._values.items() if name != key}
        return Table(rest, file=self.file, lines=self.lines, path=self.path, fault=self.fault)

    def place(self, key: str | None = None) -> Place:
        """Where the table, or one of its keys, stands."""
        path = self.path if key is None else (*self.path, key)
        return Place(file=self.file, line=None if self.lines is None else self.lines.of(path))

    def error(
        self, message: str, *, key: str | None = None, causes: tuple[str, ...] = (), hint: str | None = None
    ) -> BrickctlError:
        """An error about the table or one of its keys, to be raised by the caller."""
        return self.fault(message, causes=causes, place=self.place(key), hint=hint)

    def missing(self, message: str, *keys: str, hint: str | None = None) -> BrickctlError:
        """An error about keys that are not there, to be raised by the caller; it names the one that is misspelt."""
        unknown = [key for key in self._values if key not in self._asked]
        for key in keys:
            near = nearest(key, unknown)
            if near is not None:
                return self.error(message, key=near, hint=f"it has `{shown(near)}`: did you mean `{key}`?")
        return self.error(message, hint=hint)

    def finish(self) -> None:
        """Refuse the keys that nobody asked for, with the name that was probably meant."""
        unknown = [key for key in self._values if key not in self._asked]
        if not unknown:
            return
        first, *others = unknown
        known = ", ".join(f"`{key}`" for key in self._asked)
        hint = did_you_mean(first, self._asked) or (f"known here: {known}" if known else "nothing may stand here")
        causes = tuple(f"`{shown(key)}` is unknown too" for key in others[:5])
        raise self.error(f"unknown key `{shown(first)}` in {self.where}", key=first, causes=causes, hint=hint)

    def _required(self, key: str, value: _T | None) -> _T:
        if value is None:
            raise self.missing(f"{self.named(key)} is missing", key)
        return value

    def _typed(self, key: str, kind: type[_T], words: str) -> _T | None:
        value = self.take(key)
        if not self.has(key):
            return None
        disguised = kind is int and isinstance(value, bool)  # Python counts True among the integers
        if isinstance(value, kind) and not disguised:
            return value
        raise self._wrong(key, words, value)

    def _list_of(self, key: str, kind: type[_T], words: str) -> tuple[_T, ...] | None:
        values: list[Any] | None = self._typed(key, list, f"a list of {words}")
        if values is None:
            return None
        for value in values:
            if not isinstance(value, kind):
                raise self._wrong(key, f"a list of {words}", value, inside=True)
        return tuple(values)

    def _text(self, key: str, value: _T) -> _T:
        if isinstance(value, str) and not value.isprintable():
            raise self.error(f"{self.named(key)} has a control or invisible character: {shown(value)}", key=key)
        return value

    def _below(self, values: Mapping[str, Any], *path: str | int) -> Table:
        return Table(values, file=self.file, lines=self.lines, path=(*self.path, *path), fault=self.fault)

    def _wrong(self, key: str, wanted: str, value: Any, *, inside: bool = False) -> BrickctlError:
        found = f"it contains {_kind_of(value)}" if inside else f"not {_kind_of(value)}"
        return self.error(f"{self.named(key)} must be {wanted}, {found}", key=key)


def _is_short(value: float) -> bool:
    """Whether a number can become a float and a short text; Python integers may be of any length."""
    return abs(value) <= _LARGEST_INTEGER or isinstance(value, float)


def _kind_of(value: Any) -> str:
    kinds = {
        str: "a string",
        bool: "true or false",
        int: "an integer",
        float: "a number",
        list: "a list",
        dict: "a table",
    }
    return kinds.get(type(value), "null" if value is None else "a date or time")


def _dotted(path: KeyPath) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part if _BARE_KEY.fullmatch(part) else json.dumps(part)
            text += f".{bare}" if text else bare
    return text
