"""The two streams: data to stdout, words to stderr, with colours only on a terminal and without NO_COLOR."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1
"""The version of the JSON that `--json` prints."""


def write(text: str) -> None:
    """Write data, and a newline, to stdout."""
    click.echo(text, color=_color())


def say(text: str) -> None:
    """Write words, and a newline, to stderr."""
    click.echo(text, err=True, color=_color())


def succeeded(fields: Mapping[str, Any]) -> str:
    """The JSON of a success, on one line: `schema`, `ok`, then the fields in their order."""
    return json.dumps({"schema": SCHEMA, "ok": True, **fields}, allow_nan=False)


def failed(error: Mapping[str, Any]) -> str:
    """The JSON of a failure, on one line."""
    return json.dumps({"schema": SCHEMA, "ok": False, "error": dict(error)}, allow_nan=False)


def _color() -> bool | None:
    """What click may do with colours: False is never; None is only on a terminal."""
    return False if os.environ.get("NO_COLOR") else None
