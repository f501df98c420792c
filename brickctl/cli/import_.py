"""`brickctl import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False), metavar="MERGEKIT.YML")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(options.MANIFEST),
    show_default=True,
    help="File to write.",
)
@options.console
def command(*, recipe: Path, output: Path, console: Console) -> None:
    """Write the brick.toml that says what a mergekit recipe says.

    Folders in the recipe are relative to the current one. What brickctl does not do is refused by name.
    """
    from brickctl.workflows.mergekit.import_recipe import import_mergekit

    imported = import_mergekit(recipe, output)
    for note in imported.notes:
        console.note(f"note: {note}")
    console.answer({"path": str(imported.path), "bricks": list(imported.bricks), "notes": list(imported.notes)})
    count = len(imported.bricks)
    console.show(f"wrote {imported.path} with {count} {'brick' if count == 1 else 'bricks'}")
    console.note(f"next: {_next(imported.path)}")


def _next(path: Path) -> str:
    """What makes a project of the file that was written."""
    if path.name != options.MANIFEST:
        return f"rename it to {options.MANIFEST}, in a folder of its own, then `brickctl build` there"
    here = path.absolute().parent == Path.cwd()
    return "`brickctl build`" if here else f"`cd {path.parent}`, then `brickctl build`"
