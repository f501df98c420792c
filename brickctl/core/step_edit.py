"""Editing the steps of a target in brick.toml: text in, text out; all but the values that change stays as it was.

As `manifest_edit` does, an edit is checked before it is handed back: the new text must mean exactly the old one with
the new steps.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import tomli
import tomlkit
from tomlkit.exceptions import TOMLKitError

from brickctl.core.lines import locate
from brickctl.errors import ManifestInvalid, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FILE = "brick.toml"
_SIGNED = "brickctl"
"""What the first line of a note begins with behind its mark."""

_UNEDITABLE = (TOMLKitError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What tomlkit raises for files that it cannot edit, besides its own errors."""


def steps_of(text: str, target: str) -> list[dict[str, Any]]:
    """The tables of a target's `apply`, which a manifest that was read has."""
    steps: list[dict[str, Any]] = tomli.loads(text)["targets"][target].get("apply", [])
    return steps


def change_steps(text: str, target: str, steps: Sequence[Mapping[str, Any]], note: Sequence[str], mark: str) -> str:
    """The text with other values in the steps of a target, and a note above them.

    Args:
        text: the manifest as it is.
        target: whose `apply` it is.
        steps: as many as stand there.
        note: lines of a comment, each written behind `# ` and the mark; the first one begins with `brickctl`.
        mark: the beginning of all lines of such a comment: the one that stands there is replaced, and none that
            somebody else wrote with the same mark.

    Raises:
        ManifestInvalid: the file is written in a way that cannot be edited safely.
    """
    wanted = tomli.loads(text)
    wanted["targets"][target]["apply"] = [dict(step) for step in steps]
    try:
        document: Any = tomlkit.parse(text)
        is_whole = tomlkit.dumps(document) == text
        _replace(document["targets"][target]["apply"], steps_of(text, target), [dict(step) for step in steps])
        edited = _with_note(tomlkit.dumps(document), target, note, mark)
        safe = is_whole and tomli.loads(edited) == wanted
    except (*_UNEDITABLE, tomli.TOMLDecodeError):
        safe, edited = False, text
    if not safe:
        shown = ", ".join(map(inline, steps))
        hint = f"by hand, write below [targets.{target}]: apply = [{shown}]"
        raise ManifestInvalid(f"{_FILE} cannot be edited safely", place=Place(file=_FILE), hint=hint)
    return edited


def inline(value: Any) -> str:
    """A value of TOML in one line."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{tomlkit.key(key).as_string()} = {inline(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _replace(item: Any, old: Any, new: Any) -> None:
    """Give a container of tomlkit, which has the values `old`, the values `new`: what is equal is not touched."""
    pairs = new.items() if isinstance(new, dict) else enumerate(new)
    for key, value in pairs:
        there = old.get(key) if isinstance(old, dict) else old[key]
        if _are_alike(there, value):
            _replace(item[key], there, value)
        elif there != value or type(there) is not type(value):
            item[key] = tomlkit.parse(f"x = {inline(value)}\n")["x"]
    for key in [key for key in old if key not in new] if isinstance(new, dict) else ():
        del item[key]


def _are_alike(there: Any, value: Any) -> bool:
    """Whether one container can be turned into the other value by value."""
    if isinstance(there, dict) and isinstance(value, dict):
        return True
    return isinstance(there, list) and isinstance(value, list) and len(there) == len(value)


def _with_note(text: str, target: str, note: Sequence[str], mark: str) -> str:
    """The text with a comment above the line where the steps of a target begin."""
    lines = text.split("\n")  # as `locate` counts: a comment may have what splitlines takes for a line break
    at = (locate(text).of(("targets", target, "apply")) or 1) - 1
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    end = "\r" if lines[at].endswith("\r") else ""
    written = (f"{indent}# {mark}{line}{end}" for line in note)
    return "\n".join([*lines[: _start_of_note(lines, at, mark)], *written, *lines[at:]])


def _start_of_note(lines: Sequence[str], at: int, mark: str) -> int:
    """Where the note above line `at` begins; `at`, where there is none of ours."""
    first = at
    while first and lines[first - 1].lstrip().startswith(f"# {mark}"):
        first -= 1
        if lines[first].lstrip().startswith(f"# {mark}{_SIGNED}"):
            return first
    return at
