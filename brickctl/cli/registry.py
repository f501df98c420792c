"""`brickctl registry check|snapshot|site`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.group(invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Look after the folder of a registry: check it before it is published, make it searchable, show it."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


_folder = click.argument("folder", type=click.Path(path_type=Path), metavar="DIR", shell_complete=suggestions.folders)


@command.command("check")
@_folder
@options.console
def check(*, folder: Path, console: Console) -> None:
    """Read every line of the registry in DIR.

    Each must be canonical, about the brick that its file is named after, and about another version than the others; the
    files that it names must be there, with their sizes. What is wrong is named with file and line: exit code 4.
    """
    from brickctl.workflows.registry import check_registry

    checked = check_registry(folder)
    console.answer({"bricks": checked.bricks, "versions": checked.versions, "snapshot-current": checked.snapshot})
    console.show(f"{_count(checked.bricks, 'brick')}, {_count(checked.versions, 'version')}: sound")
    if checked.snapshot is None:
        console.note("it has no snapshot, and so cannot be searched on a server: `brickctl registry snapshot DIR`")
    elif not checked.snapshot:
        console.warn("its snapshot is not of this index: write it anew with `brickctl registry snapshot DIR`")


@command.command("snapshot")
@_folder
@options.console
def snapshot(*, folder: Path, console: Console) -> None:
    """Write the snapshot of the registry in DIR, from which `brickctl search` finds its bricks.

    One line for each brick with a version that is not yanked; the same bytes for the same index. `config.json` gets the
    key `snapshot`, which says where it is. Checks the registry first, as `brickctl registry check` does.
    """
    from brickctl.core.sizes import format_size
    from brickctl.workflows.registry import write_snapshot

    made = write_snapshot(folder)
    console.answer(
        {"path": str(made.path), "bricks": made.bricks, "bytes": made.bytes, "written": made.written},
    )
    size = f"{_count(made.bricks, 'brick')}, {format_size(made.bytes)}"
    console.show(f"{made.path}: {size}" if made.written else f"{made.path} is up to date: {size}")


@command.command("site")
@_folder
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    required=True,
    help="Folder of the site: new, or one that an earlier run has made.",
)
@click.option("--title", metavar="TEXT", help="What the site calls the registry.  [default: its name]")
@click.option("--name", metavar="NAME", help="What brick.toml calls it in lines to copy.  [default: its folder]")
@click.option("--url", metavar="URL", help="Where it is served: lines to copy then declare it too.")
@options.console
def site(*, folder: Path, output: Path, title: str | None, name: str | None, url: str | None, console: Console) -> None:
    """Write the registry in DIR as a static site: a list to search, and one page a brick.

    Each page has lines to copy, versions, licence, base, sizes and digests. Works from a disk as from any web server,
    loads nothing from elsewhere, and lists everything without JavaScript too. The same registry gives the same bytes;
    what did not change is not written again. Checks the registry first, as `brickctl registry check` does.
    """
    from brickctl.core.sizes import format_size
    from brickctl.workflows.catalogue_site.make import about_registry, make_site

    about = about_registry(folder, title=title, name=name, url=url)
    made = make_site(folder, output.absolute(), about, console)
    console.answer(
        {
            "folder": str(made.folder),
            "bricks": made.bricks,
            "versions": made.versions,
            "files": made.files,
            "bytes": made.bytes,
            "written": made.written,
        }
    )
    size = f"{_count(made.bricks, 'brick')}, {_count(made.files, 'file')}, {format_size(made.bytes)}"
    place = made.folder / "index.html"
    console.show(f"{place}: {size}" if made.written else f"{place} is up to date: {size}")


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"
