"""`brickctl tree`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@options.project
@options.console
def command(*, project: Path, console: Console) -> None:
    """Show the targets of a project and what they are made of.

    A tree of the base, the targets, their steps, and the bricks with their weights. Uses no network.
    """
    from brickctl.workflows.project_tree import draw, project_tree
    from brickctl.workflows.session import open_session

    session = open_session(project, console, offline=True)
    tree = project_tree(session.manifest, session.read_lock())
    console.answer(tree.document())
    console.show(draw(tree.branches()))
