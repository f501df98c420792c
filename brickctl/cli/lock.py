"""`brickctl lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options
from brickctl.cli.changes import show_lock

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@options.project
@click.option("--check", is_flag=True, help="Write nothing; fail if brick.lock does not say what brick.toml says.")
@options.offline
@options.console
def command(*, project: Path, check: bool, offline: bool, console: Console) -> None:
    """Pin in brick.lock exactly which bytes brick.toml means.

    What is pinned already keeps its pin; `brickctl update` takes newer ones. Reads small files and the headers of
    weights, no weights.
    """
    from brickctl.workflows import lock
    from brickctl.workflows.session import open_session

    session = open_session(project, console, offline=offline)
    show_lock(console, lock.check(session) if check else lock.refresh(session))
