"""`brickctl init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), metavar="[DIR]")
@click.option("--template", metavar="NAME", help="Start from a project that ships with brickctl.")
@click.option("--name", help="Name of the project.  [default: the template's, or the folder's]")
@options.console
def command(*, folder: Path, template: str | None, name: str | None, console: Console) -> None:
    """Start a project in DIR, or here.

    Writes a commented brick.toml, or the files of a template, and never overwrites a file.
    """
    from brickctl.workflows.init import start_project

    started = start_project(folder.absolute(), template=template, name=name)
    console.answer({"folder": str(started.folder), "name": started.name, "files": list(started.files)})
    console.show(f"started `{started.name}` in {started.folder}: {', '.join(started.files)}")
    steps = [] if started.folder == Path.cwd() else [f"`cd {folder}`"]
    steps += ["`brickctl build`"] if template else ["set [base] in brick.toml", "`brickctl lock`"]
    console.note(f"next: {', then '.join(steps)}")
