"""`brickctl list`."""

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
    """List the base and the bricks of a project.

    With kind, version, size, licence and source: as brick.lock pins them, or as brick.toml asks for them where nothing
    is pinned yet. Uses no network.
    """
    from brickctl.core.sizes import format_size
    from brickctl.workflows.inventory import inventory
    from brickctl.workflows.session import open_session

    session = open_session(project, console, offline=True)
    items = inventory(session.manifest, session.read_lock())
    console.answer({"bricks": [item.document() for item in items]})
    console.table(
        ("brick", "kind", "version", "size", "licence", "source"),
        [
            (
                item.alias,
                item.kind or "-",
                item.revision,
                "-" if item.size is None else format_size(item.size),
                item.license,
                item.source,
            )
            for item in items
        ],
    )
    loose = [item.alias for item in items if item.locked is None]
    fetched = [alias for alias in loose if alias not in session.manifest.derived]
    derived = [alias for alias in loose if alias in session.manifest.derived]
    if fetched:
        console.note(f"not locked as brick.toml asks: {', '.join(fetched)}; `brickctl lock` pins them")
    if derived:
        console.note(f"not made of what would be used now: {', '.join(derived)}; `brickctl derive` makes them")
