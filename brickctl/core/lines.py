"""Where each key of a TOML text stands, so that an error can name its line.

TOML parsers give values without places. This scanner walks a text that the parser has already accepted, so it may
trust the grammar: it needs to see where keys begin and where values end, and never what a value means.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tomli

if TYPE_CHECKING:
    from collections.abc import Mapping

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a document down to one value."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'  # up to two quotes may stand before the closing three
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Lines:
    """Line numbers, counted from 1, by key path."""

    numbers: Mapping[KeyPath, int] = field(default_factory=dict)

    def of(self, path: KeyPath) -> int | None:
        """The line where `path` stands, or the nearest thing around it that has one; None when nothing has."""
        while path not in self.numbers and path:
            path = path[:-1]
        return self.numbers.get(path)


def locate(text: str) -> Lines:
    """Find the line of every key and list entry of a TOML text that tomli accepts.

    A table that is only implied (`a` in `[a.b]`) stands where it is first implied; a later header of its own wins.
    """
    return Lines(_Scanner(text).scan())


class _Scanner:
    """One pass over a text; `position` only grows."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.newlines = [match.start() for match in re.finditer("\n", text)]
        self.numbers: dict[KeyPath, int] = {}
        self.lengths: dict[KeyPath, int] = {}  # arrays of tables, and how many tables each has so far

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self.skip(_BLANK)
        while self.position < len(self.text):
            if self.text.startswith("[", self.position):
                table = self.header()
            else:
                self.pair(table)
            self.skip(_BLANK)
        return self.numbers

    def header(self) -> KeyPath:
        line = self.line()
        brackets = 2 if self.text.startswith("[[", self.position) else 1
        self.position += brackets
        *parents, last = self.key()
        self.position += brackets
        path: KeyPath = ()
        for part in parents:
            path = self.inside((*path, part))
            self.numbers.setdefault(path, line)
        path = (*path, last)
        if brackets == 1:
            self.numbers[path] = line
            return path
        self.numbers.setdefault(path, line)
        self.lengths[path] = self.lengths.get(path, 0) + 1
        path = self.inside(path)
        self.numbers[path] = line
        return path

    def inside(self, path: KeyPath) -> KeyPath:
        """The table that a header means by `path`: the newest one where `path` is an array of tables."""
        if path not in self.lengths:
            return path
        return (*path, self.lengths[path] - 1)

    def pair(self, table: KeyPath) -> None:
        line = self.line()
        path = table
        for part in self.key():
            path = (*path, part)
            self.numbers.setdefault(path, line)
        self.position += 1  # the equals sign
        self.skip(_SPACE)
        self.value(path)

    def key(self) -> list[str]:
        """A key in parts, with the space around it; the position is left at what follows."""
        parts = []
        while True:
            self.skip(_SPACE)
            parts.append(self.key_part())
            self.skip(_SPACE)
            if not self.text.startswith(".", self.position):
                return parts
            self.position += 1

    def key_part(self) -> str:
        bare = self.skip(_BARE_KEY)
        if bare:
            return bare
        quoted = self.skip(_STRING)
        decoded: str = tomli.loads(f"key = {quoted}")["key"]
        return decoded

    def value(self, path: KeyPath) -> None:
        start = self.text[self.position : self.position + 1]
        if start == "[":
            self.array(path)
        elif start == "{":
            self.inline_table(path)
        elif not self.skip(_STRING):
            self.skip(_SCALAR)

    def array(self, path: KeyPath) -> None:
        index = 0
        while self.more("]"):
            self.numbers[*path, index] = self.line()
            self.value((*path, index))
            index += 1

    def inline_table(self, path: KeyPath) -> None:
        while self.more("}"):
            self.pair(path)

    def more(self, end: str) -> bool:
        """Step over an opening bracket or a comma; whether an entry follows, rather than the closing bracket `end`."""
        self.skip(_BLANK)
        if self.text.startswith(("[", "{", ","), self.position):
            self.position += 1
        self.skip(_BLANK)
        if not self.text.startswith(end, self.position):
            return True
        self.position += 1
        return False

    def line(self) -> int:
        return bisect.bisect_left(self.newlines, self.position) + 1

    def skip(self, pattern: re.Pattern[str]) -> str:
        """Step over what `pattern` matches here, which may be nothing, and give it."""
        match = pattern.match(self.text, self.position)
        if match is None:
            return ""
        self.position = match.end()
        return match.group()
