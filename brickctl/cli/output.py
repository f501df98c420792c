"""The two streams: data to stdout, words to stderr, with colours only on a terminal and without NO_COLOR."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import click

from brickctl.errors import BrickctlError, NoSpace

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1
"""The version of the JSON that `--json` prints."""


def write(text: str) -> None:
    """Write data, and a newline, to stdout.

    Raises:
        NoSpace, BrickctlError: it goes to a disk that is full, or that fails.
        BrokenPipeError: nobody reads it any more.
    """
    write_piece(f"{text}\n")


def write_piece(text: str) -> None:
    """Write data to stdout, as `write` does, and nothing behind it.

    Raises:
        NoSpace, BrickctlError, BrokenPipeError: as `write`.
    """
    try:
        click.echo(text, color=_color(), nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        kind = NoSpace if error.errno in {errno.ENOSPC, errno.EDQUOT} else BrickctlError
        reason = (error.strerror or str(error)).lower()
        hint = "see where standard output goes, then run this again"
        raise kind("the answer cannot be written", causes=(reason,), hint=hint) from error


def say(text: str) -> None:
    """Write words, and a newline, to stderr; a log on a full disk is no reason to stop the work, as with Cargo.

    Raises:
        BrokenPipeError: nobody reads them any more.
    """
    try:
        click.echo(text, err=True, color=_color())
    except BrokenPipeError:
        raise
    except OSError:
        pass


def plain(text: str) -> str:
    """A text for people, of which a part may come from files: what does not print is escaped, line breaks stay."""
    return "\n".join(map(one_line, text.split("\n")))


def tabbed(text: str) -> str:
    """As `plain`, for the text of a model: tabs stay too, without which code would not be code."""
    return "\t".join(map(plain, text.split("\t")))


def one_line(text: str) -> str:
    """As `plain`, with line breaks escaped too: a value from a file cannot look like a line of ours."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def succeeded(fields: Mapping[str, Any]) -> str:
    """The JSON of a success, on one line: `schema`, `ok`, then the fields in their order."""
    return json.dumps({"schema": SCHEMA, "ok": True, **fields}, allow_nan=False)


def failed(error: Mapping[str, Any], **fields: Any) -> str:
    """The JSON of a failure, on one line: `schema`, `ok`, `error`, then what is known all the same."""
    return json.dumps({"schema": SCHEMA, "ok": False, "error": dict(error), **fields}, allow_nan=False)


def _color() -> bool | None:
    """What click may do with colours: False is never; None is only on a terminal."""
    return False if os.environ.get("NO_COLOR") else None
