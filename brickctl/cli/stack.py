"""`brickctl stack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions
from brickctl.cli.composing import compose

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.command()
@click.argument("base", shell_complete=suggestions.folders)
@click.argument("bricks", nargs=-1, required=True, metavar="BRICK...", shell_complete=suggestions.folders)
@click.option("--active", help="The adapter that is active after loading.  [default: the first]")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the artifact.")
@options.shard_size
@options.save
@options.dry_run
@options.offline
@options.memory
@options.threads
@options.console
def command(
    *,
    base: str,
    bricks: tuple[str, ...],
    active: str | None,
    output: Path,
    shard_size: str | None,
    save: Path | None,
    dry_run: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    """Put adapters beside BASE, without merging them.

    PEFT switches between them when the model runs; `how-to-load.md` in the artifact has the lines.

    BASE and BRICK are `hf:owner/name[@revision]`, `path:folder`, `./folder` or `/folder`.
    """
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.compose import Composition, name_bricks, stack_step

    named = name_bricks(bricks)
    step = stack_step(tuple(named), active)
    composition = Composition(base=base, bricks=named, step=step, shard_size=shard_size)
    budget = Budget(threads=threads, memory=memory)
    compose(console, composition, output, budget, save=save, dry_run=dry_run, offline=offline)
