"""`brickctl outdated`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@options.project
@options.offline
@options.console
def command(*, project: Path, offline: bool, console: Console) -> None:
    """List bricks that are not at the newest.

    With what `brickctl update` would take, and the newest release of all, which may be out of the range in brick.toml,
    or may not fit. Writes nothing.
    """
    from brickctl.workflows.outdated import outdated
    from brickctl.workflows.session import open_session

    rows = outdated(open_session(project, console, offline=offline))
    console.answer({"outdated": [dataclasses.asdict(row) for row in rows]})
    if not rows:
        console.show("every brick is at the newest")
        return
    console.table(
        ("brick", "locked", "update", "newest", "source"),
        [(row.name, row.locked, row.update or "-", row.newest, row.origin) for row in rows],
    )
