"""`brickctl moe`."""

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
@click.argument("experts", nargs=-1, required=True, metavar="EXPERT...", shell_complete=suggestions.folders)
@click.option("--active", type=int, required=True, metavar="N", help="How many experts a token passes through.")
@click.option("--gates", type=click.Choice(("random", "uniform")), required=True, help="What the routers are.")
@click.option("--seed", type=int, metavar="N", help="Of random gates.  [default: 0]")
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
    experts: tuple[str, ...],
    active: int,
    gates: str,
    seed: int | None,
    output: Path,
    dtype: str | None,
    shard_size: str | None,
    save: Path | None,
    dry_run: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    """Make one mixture of the FFNs of several EXPERTs, without a manifest.

    Experts are fine-tunes or adapters of BASE; all but their FFNs is that of BASE. `random` gates are to be trained,
    `uniform` ones take the mean of all experts where all are active. Gates from prompts are derived bricks, which need
    a manifest: see `--save`.

    BASE and EXPERT are `hf:owner/name[@revision]`, `path:folder`, `./folder` or `/folder`.
    """
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.compose import Composition, moe_step, name_bricks

    named = name_bricks(experts)
    step = moe_step(tuple(named), active, gates, seed)
    composition = Composition(base=base, bricks=named, step=step, dtype=dtype, shard_size=shard_size)
    budget = Budget(threads=threads, memory=memory)
    compose(console, composition, output, budget, save=save, dry_run=dry_run, offline=offline)
