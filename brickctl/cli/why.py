"""`brickctl why`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@click.argument("name", shell_complete=suggestions.base_and_bricks)
@options.project
@options.console
def command(*, name: str, project: Path, console: Console) -> None:
    """Say what asks for a brick, and what uses it.

    NAME is a name of brick.toml or brick.lock, or `namespace/name`. Follows what needs it up to lines of brick.toml.
    Uses no network.
    """
    from brickctl.workflows.session import open_session
    from brickctl.workflows.why import why

    found = why(open_session(project, console, offline=True), name)
    rows = [
        {
            "name": one.name,
            "version": one.version,
            "reasons": [{"by": reason.by, "words": reason.words} for reason in one.reasons],
        }
        for one in found
    ]
    console.answer({"bricks": rows})
    for one in found:
        console.show(f"{one.name}  {one.version}")
        for reason in one.reasons:
            console.show(f"  {reason.by}: {reason.words}")
