"""`brickctl cache dir|size|verify|prune`."""

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
    """Look into the caches, check them, and tidy them up.

    `hub` is the Hugging Face cache, shared with other tools; `brickctl` holds files of registries, the ledger of
    verified files, and which shards the artifacts of this machine hold; `project` is `.brickctl` of a project.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command("dir")
@click.argument("name", required=False, type=click.Choice(("hub", "brickctl", "project")))
@options.project_if_any
@options.console
def show_dir(*, name: str | None, project: Path | None, console: Console) -> None:
    """Print where the caches lie; with a name, the folder of that cache and nothing else."""
    from brickctl.workflows.caches import PROJECT, caches_of

    folders = caches_of(options.needed_project(project) if name == PROJECT else project).folders
    if name is not None:
        console.answer({"name": name, "path": str(folders[name])})
        console.show(str(folders[name]))
        return
    rows = [{"name": each, "path": str(folder), "exists": folder.is_dir()} for each, folder in folders.items()]
    console.answer({"caches": rows})
    console.table(("cache", "folder"), [(each, str(folder)) for each, folder in folders.items()])


@command.command("size")
@options.project_if_any
@options.console
def show_size(*, project: Path | None, console: Console) -> None:
    """Count the bytes and files of each cache; of the Hub's, of each repository.

    Hard links count once, links not at all. Repositories of this project's lock are shown with their bricks.
    """
    from brickctl.core.sizes import format_size
    from brickctl.workflows.caches import caches_of, lock_if_any, measure

    found = list(measure(caches_of(project), lock_if_any(project, console)))
    console.answer(
        {
            "bytes": sum(cache.total.bytes for cache in found),
            "caches": [
                {
                    **cache.total.document(),
                    "path": str(cache.path),
                    "parts": [part.document() for part in cache.parts],
                }
                for cache in found
            ],
        }
    )
    rows = []
    for cache in found:
        rows.append((cache.total.name, "", format_size(cache.total.bytes), str(cache.total.files), ""))
        rows += [
            ("", part.name, format_size(part.bytes), str(part.files), ", ".join(part.bricks)) for part in cache.parts
        ]
    console.table(("cache", "part", "size", "files", "bricks"), rows)


@command.command("verify")
@options.project_if_any
@options.console
def verify(*, project: Path | None, console: Console) -> None:
    """Hash every cached file again whose sha256 is known.

    Known from the name of the file in the cache, from this project's brick.lock, or from what brickctl found when it
    first read the file. What differs is moved aside, never deleted: exit code 4.
    """
    from brickctl.core.sizes import format_size
    from brickctl.workflows.cache_check import check_caches
    from brickctl.workflows.caches import caches_of, lock_if_any

    checked = check_caches(caches_of(project), lock_if_any(project, console), console)
    console.answer({"files": checked.files, "bytes": checked.bytes, "unknown": checked.unknown})
    console.show(f"{_files(checked.files)} verified, {format_size(checked.bytes)}")
    if checked.unknown:
        console.note(f"{_files(checked.unknown)} not read: no sha256 of them is known here")


@command.command("prune")
@click.option("--quarantined", is_flag=True, help="Also remove files that were corrupt and moved aside.")
@options.dry_run
@options.project_if_any
@options.console
def prune(*, quarantined: bool, dry_run: bool, project: Path | None, console: Console) -> None:
    """Remove what interrupted commands left in the caches, and what nobody needs any more.

    Repositories of the Hub's cache are left alone, but for unfinished downloads in those that brickctl has used (`hf
    cache rm` removes repositories). In a project, derived bricks go that brick.lock does not name any more, and
    measurements that the last analysis of no model rests on. What somebody may be writing stays.
    """
    from brickctl.core.sizes import format_size
    from brickctl.workflows.caches import caches_of, lock_if_any
    from brickctl.workflows.prune import prune

    lock = lock_if_any(project, console)
    pruned = prune(caches_of(project), lock, console, quarantined=quarantined, dry_run=dry_run)
    console.answer(
        {
            "dry-run": dry_run,
            "bytes": pruned.bytes,
            "removed": [leftover.document() for leftover in pruned.gone],
            "busy": list(map(str, pruned.busy)),
        }
    )
    for leftover in pruned.gone:
        console.show(f"{leftover.path}  {format_size(leftover.bytes)}  {leftover.why}")
    what = "would be removed" if dry_run else "removed"
    console.show(
        f"{_files(len(pruned.gone))} {what}, {format_size(pruned.bytes)}" if pruned.gone else "nothing to remove"
    )
    if pruned.busy:
        console.note(f"{_files(len(pruned.busy))} kept: somebody may be writing them, or was just now")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
