"""`brickctl stack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options
from brickctl.cli.build import show_built, show_outlines

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.command()
@click.argument("base")
@click.argument("bricks", nargs=-1, required=True, metavar="BRICK...")
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
    memory: int,
    threads: int,
    console: Console,
) -> None:
    """Put adapters beside BASE, without merging them.

    PEFT switches between them when the model runs; `how-to-load.md` in the artifact has the lines.

    BASE and BRICK are `hf:owner/name[@revision]`, `path:folder`, `./folder` or `/folder`.
    """
    from brickctl.tensors.executor import Budget
    from brickctl.workflows import compose

    named = compose.name_bricks(bricks)
    step = compose.stack_step(tuple(named), active)
    composition = compose.Composition(base=base, bricks=named, step=step, shard_size=shard_size)
    if dry_run:
        show_outlines(console, [compose.preview(composition, output, console, offline=offline)])
        return
    budget = Budget(threads=threads, memory=memory)
    show_built(console, [compose.run(composition, output, console, budget, offline=offline, save=save)])
