"""Editing `[bricks]` of brick.toml: text in, text out; what is not about the brick stays byte for byte as it was.

The file belongs to its author, with comments, order and spacing. Every edit is checked before it is handed back: the
new text must mean exactly the old one plus or minus the brick.
"""

from __future__ import annotations

import json
import re
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import tomli
import tomlkit
from tomlkit.exceptions import TOMLKitError

from brickctl.core.document import read_toml
from brickctl.core.names import did_you_mean
from brickctl.errors import ManifestInvalid, NotFound, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = "brick.toml"
_BLANK_OR_COMMENT = re.compile(r"\s*(?:#.*)?")
_LONE_LINE_FEED = re.compile(r"(?<!\r)\n")
_HEAD_OF_BRICKS = re.compile(r"\s*\[\s*bricks\s*\]")
_UNEDITABLE = (TOMLKitError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What tomlkit raises for files that it cannot edit, besides its own errors."""


def add_brick(text: str, alias: str, requirement: str | Mapping[str, str]) -> str:
    """Add `alias = requirement` to `[bricks]`, behind what stands there; a file without `[bricks]` gets one at its end.

    Args:
        text: the manifest as it is.
        alias: the brick's name in it.
        requirement: `"namespace/name@range"`, or the keys of an inline table.

    Raises:
        ManifestInvalid: not TOML, or the alias is taken, or the file is written in a way that cannot be edited safely.
    """
    top = read_toml(text, file=_FILE)
    bricks = top.table_or_none("bricks")
    if bricks is not None and bricks.has(alias):
        hint = f"remove it first (`brickctl remove {alias}`), or choose another name"
        raise bricks.error(f"`{alias}` is in [bricks] already", key=alias, hint=hint)
    line = f"{alias} = {_value(requirement)}"
    wanted = tomli.loads(text)
    wanted.setdefault("bricks", {}).update(tomli.loads(line))
    edited = text if bricks is not None else _with_section(text)
    inserted = _lift(_insert(edited, alias, line), line)
    return _checked(_with_line_ends_of(text, inserted), wanted, f"add `{line}` to [bricks]")


def remove_brick(text: str, alias: str) -> str:
    """Remove a brick, written as `alias = ...` or as a section `[bricks.ALIAS]`, with the comments on its own lines.

    Comments that stand behind a section, after an empty line, belong to what follows and are kept.

    Raises:
        NotFound: there is no such brick.
        ManifestInvalid: not TOML, or the file is written in a way that cannot be edited safely.
    """
    top = read_toml(text, file=_FILE)
    bricks = top.table_or_none("bricks")
    if bricks is None or not bricks.has(alias):
        known, derived = () if bricks is None else bricks.keys(), top.table_or_none("derived")
        is_derived = derived is not None and derived.has(alias)
        hint = f"it is derived: delete [derived.{alias}]" if is_derived else did_you_mean(alias, known)
        raise NotFound(f"there is no brick `{alias}` in [bricks]", hint=hint)
    wanted = tomli.loads(text)
    del wanted["bricks"][alias]
    return _checked(_keep_comments(text, _delete(text, alias)), wanted, f"delete `{alias}` from [bricks]")


def _insert(text: str, alias: str, line: str) -> str:
    """The text with one more line in [bricks], which is there; unchanged where tomlkit cannot do it."""
    try:
        document: Any = tomlkit.parse(text)
        if tomlkit.dumps(document) != text:  # it moves tables where one of [[checks]] stands behind others
            return _insert_line(text, line)
        document["bricks"][alias] = tomlkit.parse(f"{line}\n")[alias]
        return tomlkit.dumps(document)
    except _UNEDITABLE:
        return text


def _insert_line(text: str, line: str) -> str:
    """The text with the line behind the last one of [bricks] that is neither empty nor a comment."""
    lines = text.splitlines(keepends=True)
    head, end = _section(lines)
    at = max((at for at in range(head, end) if not _BLANK_OR_COMMENT.fullmatch(lines[at].rstrip("\r\n"))), default=-1)
    return text if at < 0 else "".join([*_ended(lines[: at + 1]), f"{line}\n", *lines[at + 1 :]])


def _delete_line(text: str, alias: str) -> str:
    """The text without the line of [bricks] that begins with the alias."""
    lines = text.splitlines(keepends=True)
    head, end = _section(lines)
    at = next((at for at in range(head, end) if re.match(rf"\s*{re.escape(alias)}\s*=", lines[at])), len(lines))
    return "".join([*lines[:at], *lines[at + 1 :]])


def _section(lines: list[str]) -> tuple[int, int]:
    """Where [bricks] begins, and where the next section does; what only looks so is found out when all is checked."""
    head = next((at for at, line in enumerate(lines) if _HEAD_OF_BRICKS.match(line)), len(lines))
    end = next((at for at in range(head + 1, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
    return head, end


def _ended(lines: list[str]) -> list[str]:
    """The lines, the last of them with an end."""
    return [*lines[:-1], lines[-1] if lines[-1].endswith("\n") else f"{lines[-1]}\n"]


def _lift(text: str, line: str) -> str:
    """Move a new line up, over an empty line and what stands behind it: those comments are about what follows."""
    lines = text.splitlines(keepends=True)
    at = next((at for at, found in enumerate(lines) if found.rstrip("\r\n") == line), 0)
    above = list(takewhile(_BLANK_OR_COMMENT.fullmatch, (found.rstrip("\r\n") for found in reversed(lines[:at]))))
    blank = next((at for at in range(at - len(above), at) if not lines[at].strip()), at)
    return "".join([*lines[:blank], lines[at], *lines[blank:at], *lines[at + 1 :]]) if blank < at else text


def _delete(text: str, alias: str) -> str:
    try:
        document: Any = tomlkit.parse(text)
        if tomlkit.dumps(document) != text:
            return _delete_line(text, alias)
        del document["bricks"][alias]
        return tomlkit.dumps(document)
    except _UNEDITABLE:
        return text


def _with_section(text: str) -> str:
    ended = text if not text or text.endswith("\n") else f"{text}\n"
    return f"{ended}\n[bricks]\n" if ended else "[bricks]\n"


def _with_line_ends_of(text: str, edited: str) -> str:
    r"""The edited text with `\r\n` throughout, where the text has nothing else."""
    if "\r\n" in text and _LONE_LINE_FEED.search(text) is None:
        return _LONE_LINE_FEED.sub("\r\n", edited)
    return edited


def _keep_comments(before: str, after: str) -> str:
    """Put back comments that were cut off with the section above them."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    head = _shared(old, new)
    tail = _shared(old[head:][::-1], new[head:][::-1])
    cut = old[head : len(old) - tail]
    behind = list(takewhile(_BLANK_OR_COMMENT.fullmatch, (line.rstrip("\r\n") for line in reversed(cut))))
    loose = cut[len(cut) - len(behind) :]
    gap = next((at for at, line in enumerate(loose) if not line.strip()), len(loose))
    kept = loose[gap + 1 :] if any(line.strip() for line in loose[gap:]) else []
    return "".join([*new[: len(new) - tail], *kept, *old[len(old) - tail :]])


def _shared(left: list[str], right: list[str]) -> int:
    """How many lines are the same at the beginning of both."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _checked(edited: str, wanted: dict[str, Any], instruction: str) -> str:
    """The edited text, if it means what is wanted."""
    try:
        safe = _meaning(tomli.loads(edited)) == _meaning(wanted)
    except tomli.TOMLDecodeError:
        safe = False
    if not safe:
        raise ManifestInvalid(
            f"{_FILE} cannot be edited safely", place=Place(file=_FILE), hint=f"by hand, {instruction}"
        )
    return edited


def _meaning(document: dict[str, Any]) -> dict[str, Any]:
    """The document; no `[bricks]` and an empty one are the same."""
    return {"bricks": {}, **document}


def _value(requirement: str | Mapping[str, str]) -> str:
    if isinstance(requirement, str):
        return json.dumps(requirement, ensure_ascii=False)
    return (
        "{ "
        + ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in requirement.items())
        + " }"
    )
