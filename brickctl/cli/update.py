"""`brickctl update`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions
from brickctl.cli.changes import show_lock

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=suggestions.base_and_bricks)
@click.option("--precise", metavar="VERSION", help="Take this version, or this revision of the Hub; with one NAME.")
@options.project
@options.offline
@options.console
def command(*, names: tuple[str, ...], precise: str | None, project: Path, offline: bool, console: Console) -> None:
    """Pin bricks anew; all of them unless some are named.

    Only within what brick.toml allows: branches move to their newest commit, names of a registry to the newest version
    in range.
    """
    from brickctl.workflows.lock import update
    from brickctl.workflows.session import open_session

    result = update(open_session(project, console, offline=offline), names, precise)
    many = len(names) or len(result.lock.entries)
    newest = "the newest that brick.toml allows" if precise is None else precise
    if names and precise is None:
        newest += ", beside what else is locked"
    words = "1 brick is" if many == 1 else f"{many} bricks are"
    show_lock(console, result, unchanged=f"nothing to update: {words} at {newest}")
