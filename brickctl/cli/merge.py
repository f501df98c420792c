"""`brickctl merge`."""

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
@click.option("-m", "--method", default="task_arithmetic", show_default=True, help="Merge method.")
@click.option("-w", "--weight", "weights", type=float, multiple=True, help="Once for all bricks, or once for each.")
@click.option("-s", "--set", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter of the method.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the artifact.")
@options.dtype
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
    method: str,
    weights: tuple[float, ...],
    parameters: tuple[str, ...],
    output: Path,
    dtype: str | None,
    shard_size: str | None,
    save: Path | None,
    dry_run: bool,
    offline: bool,
    memory: int,
    threads: int,
    console: Console,
) -> None:
    """Merge BRICKs into BASE, without a manifest.

    BASE and BRICK are `hf:owner/name[@revision]`, `path:folder`, `./folder` or `/folder`.
    """
    from brickctl.tensors.executor import Budget
    from brickctl.workflows import compose

    named = compose.name_bricks(bricks)
    step = compose.merge_step(method, tuple(named), weights, parameters)
    composition = compose.Composition(base=base, bricks=named, step=step, dtype=dtype, shard_size=shard_size)
    if dry_run:
        show_outlines(console, [compose.preview(composition, output, console, offline=offline)])
        return
    budget = Budget(threads=threads, memory=memory)
    show_built(console, [compose.run(composition, output, console, budget, offline=offline, save=save)])
