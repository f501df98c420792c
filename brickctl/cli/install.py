"""`brickctl install`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@options.project
@options.locked
@options.frozen
@options.offline
@options.console
def command(*, project: Path, locked: bool, frozen: bool, offline: bool, console: Console) -> None:
    """Bring every file of brick.lock to this machine, and verify each.

    Refreshes a lock that is missing or stale first. Files of the Hub go into the Hugging Face cache.
    """
    from brickctl.core.sizes import format_size
    from brickctl.workflows.install import install
    from brickctl.workflows.lock import mode_for
    from brickctl.workflows.session import open_session

    mode = mode_for(locked=locked, frozen=frozen)
    installed = install(open_session(project, console, offline=offline), mode)
    names = list(installed.lock.entries)
    amount = f"{len(names)} {'brick' if len(names) == 1 else 'bricks'}, {format_size(installed.size)}"
    console.answer(
        {"bricks": names, "size": installed.size, "fetched": list(installed.fetched), "fetched-bytes": installed.bytes}
    )
    if installed.fetched:
        console.show(f"{amount} verified; fetched {len(installed.fetched)} ({format_size(installed.bytes)})")
    else:
        console.show(f"everything is here: {amount}")
