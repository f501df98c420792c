"""Examples to check a model with: JSON lines, read strictly.

An exact-match file has `{"prompt": ..., "completion": ...}` on every line, a perplexity file `{"text": ...}`: strings
that are not empty, and no other key. What statistics are made from may have both, and a `label` that is left unread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from brickctl.core.document import Table
from brickctl.core.lines import Lines
from brickctl.errors import NotFound, Place, UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt as the model reads it, and the completion that it should give, to the character."""

    prompt: str
    completion: str


def read_examples(path: Path, *, name: str | None = None) -> tuple[Example, ...]:
    """The examples of an exact-match check; errors call the file `name`, or else `path`.

    Raises:
        NotFound: there is no such file.
        UsageFault: a line is not an example; its place is named.
    """
    return read_lines(
        path, name or str(path), lambda line: Example(text_of(line, "prompt"), text_of(line, "completion"))
    )


def read_texts(path: Path, *, name: str | None = None) -> tuple[str, ...]:
    """The texts of a perplexity check; otherwise as `read_examples`."""
    return read_lines(path, name or str(path), lambda line: text_of(line, "text"))


def parse_examples(content: str, *, name: str) -> tuple[Example, ...]:
    """Examples or texts, a line each, from what a file holds that errors call `name`; a text completes nothing.

    Labelled prompts, as `brickctl analyze` reads them, are read like others: their labels count for nothing.

    Raises:
        UsageFault: a line is neither; its place is named.
    """
    return parse_lines(content, name, _example_or_text)


def _example_or_text(line: Table) -> Example:
    line.take("label")
    if line.has("text"):
        return Example("", text_of(line, "text"))
    return Example(text_of(line, "prompt"), text_of(line, "completion"))


def read_lines(path: Path, file: str, parse: Callable[[Table], _T]) -> tuple[_T, ...]:
    """What `parse` makes of every line, in their order; errors call the file `file`.

    Raises:
        NotFound: there is no such file.
        UsageFault: it is empty, or a line is no JSON object, or none that `parse` takes; its place is named.
    """
    return parse_lines(decoded(bytes_of(path, file), file), file, parse)


def bytes_of(path: Path, file: str) -> bytes:
    """What a file holds; raises NotFound, or UsageFault where it is a folder: both call it `file`."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"`{file}` does not exist") from None
    except IsADirectoryError:
        raise UsageFault(f"`{file}` is a folder", hint="name the file of examples in it") from None


def decoded(content: bytes, file: str) -> str:
    """The text of a file; raises UsageFault, with its place, where it is no UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageFault(f"`{file}` is not UTF-8", place=Place(file=file, line=line)) from None


def parse_lines(content: str, file: str, parse: Callable[[Table], _T]) -> tuple[_T, ...]:
    """As `read_lines`, of what a file holds that was read before."""
    # split at "\n" alone: U+2028 may stand inside a JSON string, and splitlines would cut it there
    lines = content.removesuffix("\n").split("\n") if content else []
    if not lines:
        raise UsageFault(f"`{file}` has no examples", place=Place(file=file))
    return tuple(_parsed(line, file, number, parse) for number, line in enumerate(lines, start=1))


def _parsed(line: str, file: str, number: int, parse: Callable[[Table], _T]) -> _T:
    place = Place(file=file, line=number)
    try:
        value = json.loads(line, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:  # json's own error is a ValueError; brackets in brackets in brackets
        raise UsageFault("this line is not valid JSON", causes=(str(error),), place=place) from None
    if not isinstance(value, dict):
        raise UsageFault("this line is not a JSON object", place=place)
    table = Table(value, file=file, lines=Lines({(): number}), fault=UsageFault)
    parsed = parse(table)
    table.finish()
    return parsed


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands twice")
    return values


def text_of(line: Table, key: str) -> str:
    """A string, which unlike `Table.string` may have line breaks; one that tokenizers can read."""
    value = line.take(key)
    if not isinstance(value, str) or not value:
        wrong = "must be a string, and not empty" if line.has(key) else "is missing"
        raise line.error(f"`{key}` {wrong}", key=key)
    return readable(line, key, value)


def readable(line: Table, key: str, value: str) -> str:
    """A string that stands under `key`, if tokenizers can read it."""
    if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
        raise line.error(f"`{key}` has half a surrogate pair, which is no text", key=key)
    return value
