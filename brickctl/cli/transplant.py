"""`brickctl transplant`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions
from brickctl.cli.composing import compose

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.tensors.device import Device


@click.command()
@click.argument("base", shell_complete=suggestions.folders)
@click.argument("donor", shell_complete=suggestions.folders)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the artifact.")
@click.option(
    "-m",
    "--method",
    type=click.Choice(("omp", "sub-tokens", "mean")),
    help="How tokens get a row that BASE does not have.  [default: omp]",
)
@click.option("--k", type=int, metavar="N", help="With omp, of how many rows each is a sum.  [default: 64]")
@click.option("--pad-to-multiple-of", type=int, metavar="N", help="Round the number of rows up.  [default: 1]")
@options.dtype
@options.shard_size
@options.save
@options.dry_run
@options.offline
@options.memory
@options.threads
@options.device
@options.console
def command(
    *,
    base: str,
    donor: str,
    output: Path,
    method: str | None,
    k: int | None,
    pad_to_multiple_of: int | None,
    dtype: str | None,
    shard_size: str | None,
    save: Path | None,
    dry_run: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    device: Device | None,
    console: Console,
) -> None:
    """Give BASE the tokenizer of DONOR, without a manifest.

    Tokens that both have keep the rows that they have in BASE; the others get rows that say there what they say in
    DONOR, as sums of the rows of tokens that both have. BASE and DONOR are `hf:owner/name[@revision]`, `path:folder`,
    `./folder` or `/folder`.
    """
    from brickctl.core.names import BASE
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.compose import Composition, name_bricks, plain_step

    named = name_bricks((donor,), reserved=(BASE,))
    (alias,) = named
    step = plain_step(
        "transplant-tokenizer", {"from": alias, "method": method, "k": k, "pad-to-multiple-of": pad_to_multiple_of}
    )
    composition = Composition(base=base, bricks=named, step=step, dtype=dtype, shard_size=shard_size)
    budget = Budget(threads=threads, memory=memory, device=device)
    compose(console, composition, output, budget, save=save, dry_run=dry_run, offline=offline)
