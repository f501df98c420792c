"""`brickctl cache`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.group(invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Look after the caches: the Hub's, which other tools share, brickctl's own, and the project's."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command("dir")
@options.project_if_any
@options.console
def show_folders(*, project: Path | None, console: Console) -> None:
    """Print where the caches are."""
    from brickctl.workflows.caches import places

    found = places(project)
    console.answer({"caches": {place.name: str(place.folder) for place in found}})
    console.table(("cache", "folder"), ((place.name, str(place.folder)) for place in found))


@command.command("size")
@options.project_if_any
@options.console
def show_sizes(*, project: Path | None, console: Console) -> None:
    """Print how much lies in the caches, the largest first: by repository in the Hub's, by folder elsewhere."""
    from brickctl.core.sizes import format_size
    from brickctl.workflows.caches import sizes

    found = sizes(project)
    total = sum(part.bytes for part in found)
    rows = [{"cache": part.place, "part": part.part, "files": part.files, "bytes": part.bytes} for part in found]
    console.answer({"bytes": total, "parts": rows})
    cells = [(part.place, part.part, str(part.files), format_size(part.bytes)) for part in found]
    console.table(("cache", "part", "files", "size"), [*cells, ("all", "", "", format_size(total))])


@command.command("verify")
@options.project_if_any
@options.console
def check(*, project: Path | None, console: Console) -> None:
    """Read every cached file whose name tells its digest; move aside what has other bytes (exit code 4)."""
    from brickctl.workflows.caches import verify

    count = verify(project, console)
    console.answer({"verified": count})
    console.show(f"{count} cached files are what they should be")


@command.command("prune")
@click.option("--quarantined", is_flag=True, help="Also remove files that were moved aside as damaged.")
@options.dry_run
@options.project_if_any
@options.console
def remove_leftovers(*, quarantined: bool, dry_run: bool, project: Path | None, console: Console) -> None:
    """Remove what interrupted work left behind a day ago or more, and no file that any tool could still use."""
    from brickctl.core.sizes import format_size
    from brickctl.workflows.caches import prune

    found = prune(project, quarantined=quarantined, dry_run=dry_run)
    total = sum(one.bytes for one in found)
    rows = [{"path": str(one.path), "bytes": one.bytes} for one in found]
    console.answer({"dry-run": dry_run, "bytes": total, "removed": rows})
    for one in found:
        console.note(f"{'would remove' if dry_run else 'removed'} {one.path}")
    what = "would be removed" if dry_run else "removed"
    console.show(f"{len(found)} files {what}, {format_size(total)}")
