"""`brickctl build`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.cli.console import Console
    from brickctl.tensors.device import Device
    from brickctl.workflows.build import Built, Outline


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=suggestions.targets)
@options.project
@options.dry_run
@click.option("--check", is_flag=True, help="Build again and compare with the artifact; change nothing.")
@options.force
@options.locked
@options.frozen
@options.offline
@options.memory
@options.threads
@options.device
@options.console
def command(
    *,
    targets: tuple[str, ...],
    project: Path,
    dry_run: bool,
    check: bool,
    force: bool,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    device: Device | None,
    console: Console,
) -> None:
    """Build targets into artifacts; all of them unless some are named.

    Locks and installs first where that is needed. An artifact that is up to date is left alone.
    """
    from brickctl.tensors.executor import Budget
    from brickctl.workflows import build
    from brickctl.workflows.lock import lock_for, mode_for
    from brickctl.workflows.session import open_session

    mode = mode_for(locked=locked, frozen=frozen)
    session = open_session(project, console, offline=offline)
    recipes = build.read_recipes(session, targets)
    lock = lock_for(session, mode, recipes, write=not (check or dry_run))
    budget = Budget(threads=threads, memory=memory, device=device)
    folders = [session.artifact_folder(recipe.name) for recipe in recipes]
    if dry_run:
        outlines = [
            build.outline(session, recipe, folder, lock, budget, force=force)
            for recipe, folder in zip(recipes, folders, strict=True)
        ]
        show_outlines(console, outlines)
        return
    if check:
        from brickctl.workflows.reproduce import reproduce

        work, verb = reproduce, "reproduced"
    else:
        work, verb = partial(build.build, force=force), "built"
    built = [work(session, recipe, folder, lock, budget) for recipe, folder in zip(recipes, folders, strict=True)]
    show_built(console, built, verb=verb)


def show_built(
    console: Console, results: list[Built], *, verb: str = "built", more: Mapping[str, Any] | None = None
) -> None:
    """Say what was built, for people and programs; programs are told `more` as well."""
    console.answer({"targets": [_document(result) for result in results], **(more or {})})
    for result in results:
        for note in result.notes:
            console.note(f"note: {result.target}: {note}")
        if result.shards.taken_over:
            console.note(f"{result.target}: {result.shards}")
        state = verb if result.fresh or verb != "built" else "up to date"
        console.show(f"{result.target}: {state}  {result.folder}  sha256:{result.digest[:16]}")


def _document(result: Built) -> dict[str, Any]:
    return {
        "target": result.target,
        "folder": str(result.folder),
        "digest": f"sha256:{result.digest}",
        "fresh": result.fresh,
        "shards": {"made": result.shards.made, "taken-over": result.shards.taken_over},
        "notes": list(result.notes),
    }


def show_outlines(console: Console, outlines: list[Outline]) -> None:
    """Print what would be done."""
    from brickctl.workflows.show_plan import describe_plan, plan_document

    console.answer({"targets": [plan_document(outline) for outline in outlines]})
    for outline in outlines:
        console.show(describe_plan(outline))
