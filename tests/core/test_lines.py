"""Documents are generated together with the line of every key; the scanner must find the same lines."""

from __future__ import annotations

import json
from typing import Any

import tomli
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.lines import KeyPath, Lines, locate

keys = st.sampled_from(["a", "b-c", "d_1", "2", "e f", "g.h", 'q"q', "ä", "#", "[", "="])
scalars = st.sampled_from(
    [
        "1",
        "-1.5e3",
        "true",
        "1979-05-27 07:32:00",
        '"plain"',
        r'"\" # ] , } \\"',
        "'# [not] {a} \\'",
        '"""# one\n[two]\n= "three" ""\\""""',
        '"""ends in two quotes"""""',
        "'''it's\n# no comment\n''' ",
        "'''ends in two quotes'''''",
        '""',
        "''",
        '""""""',
    ]
)
gaps = st.sampled_from([" ", "", "\n", " # ] } comment, [x]\n", "\r\n\t"])


def quoted(key: str) -> str:
    return key if key.isascii() and key.replace("-", "").replace("_", "").isalnum() else json.dumps(key)


class Writer:
    """Writes TOML and remembers on which line each key path begins."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def write(self, text: str) -> None:
        self.text += text

    def mark(self, path: KeyPath) -> None:
        self.lines[path] = self.text.count("\n") + 1

    def value(self, path: KeyPath, depth: int) -> None:
        kind = self.draw(st.sampled_from(["scalar", "array", "table"])) if depth else "scalar"
        if kind == "scalar":
            self.write(self.draw(scalars))
        elif kind == "array":
            self.array(path, depth)
        else:
            self.inline(path, depth)

    def array(self, path: KeyPath, depth: int) -> None:
        self.write("[" + self.draw(gaps))
        for index in range(self.draw(st.integers(0, 3))):
            self.mark((*path, index))
            self.value((*path, index), depth - 1)
            self.write(self.draw(gaps) + "," + self.draw(gaps))
        self.write("]")

    def inline(self, path: KeyPath, depth: int) -> None:
        self.write("{")
        for index, key in enumerate(self.draw(st.lists(keys, unique=True, max_size=3))):
            self.write(", " if index else " ")
            self.mark((*path, key))
            self.write(f"{quoted(key)} = ")
            self.value((*path, key), depth - 1)
        self.write(" }")

    def pairs(self, path: KeyPath) -> None:
        for key in self.draw(st.lists(keys, unique=True, max_size=4)):
            self.mark((*path, key))
            self.write(self.draw(st.sampled_from(["", "  "])) + quoted(key))
            inner = self.draw(keys)
            dotted = self.draw(st.booleans())
            if dotted:
                self.mark((*path, key, inner))
                self.write(f" . {quoted(inner)}")
            self.write(" = ")
            self.value((*path, key, inner) if dotted else (*path, key), 2)
            self.write(self.draw(st.sampled_from(["\n", "  # end\n", "\n\n# [no.header]\n", "\r\n"])))

    def document(self) -> None:
        for key in self.draw(st.lists(keys, unique=True, max_size=4)):
            if self.draw(st.booleans()):
                self.mark((key,))
                self.write(f"[ {quoted(key)} ] # header\n")
                self.pairs((key,))
            else:
                self.array_of_tables(key)

    def array_of_tables(self, key: str) -> None:
        for index in range(self.draw(st.integers(1, 3))):
            if not index:
                self.mark((key,))
            self.mark((key, index))
            self.write(f"[[{quoted(key)}]]\n")
            self.pairs((key, index))
            self.mark((key, index, "below"))
            self.write(f"[{quoted(key)} . below]\n")
            self.pairs((key, index, "below"))


def paths(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, entry in entries for found in paths(entry, (*path, key)))]


@given(st.data())
def test_every_key_is_found_on_the_line_where_it_stands(data: st.DataObject) -> None:
    writer = Writer(data.draw)
    writer.document()
    document = tomli.loads(writer.text)
    found = locate(writer.text)
    assert found.numbers == writer.lines
    assert {path for path in paths(document) if path} == set(found.numbers)


def test_a_header_of_its_own_counts_more_than_being_implied() -> None:
    assert locate("[a.b]\nx = 1\n\n[a]\ny = 2\n").of(("a",)) == 4


def test_what_has_no_line_stands_where_the_thing_around_it_stands() -> None:
    lines = locate("[base]\nsource = 'x'\n")
    assert lines.of(("base", "revision")) == 1
    assert lines.of(("elsewhere",)) is None
    assert Lines({(): 7}).of(("files", 0, "path")) == 7


@given(st.text(alphabet="ab=.[]{},\"'\\#\n 1", max_size=40))
def test_any_text_that_is_toml_has_a_line_for_every_key(text: str) -> None:
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    assert {path for path in paths(document) if path} == set(locate(text).numbers)
