"""`brickctl remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions
from brickctl.cli.changes import change_documents, show_changes

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=suggestions.bricks)
@options.project
@options.offline
@options.console
def command(*, names: tuple[str, ...], project: Path, offline: bool, console: Console) -> None:
    """Remove bricks from brick.toml and brick.lock.

    A brick that a target still uses is not removed. Files that were fetched for it stay in the cache.
    """
    from brickctl.workflows.add_and_remove import remove
    from brickctl.workflows.session import open_session

    edited = remove(open_session(project, console, offline=offline), names)
    console.answer({"names": list(edited.names), "changes": change_documents(edited.changes)})
    show_changes(console, edited.changes)
    if not edited.changes:
        console.show(f"removed  {', '.join(edited.names)}")
