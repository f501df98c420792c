"""`brickctl merge`."""

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
@click.argument("bricks", nargs=-1, required=True, metavar="BRICK...", shell_complete=suggestions.folders)
@click.option("-m", "--method", default="task_arithmetic", show_default=True, help="Merge method.")
@click.option("-w", "--weight", "weights", type=float, multiple=True, help="Once for all bricks, or once for each.")
@click.option("-s", "--set", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter of the method.")
@click.option(
    "--tokenizer",
    metavar="base|union|BRICK",
    shell_complete=suggestions.tokenizers,
    help="Whose tokens the result has.  [default: those of BASE, if all have the same]",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the artifact.")
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
    bricks: tuple[str, ...],
    method: str,
    weights: tuple[float, ...],
    parameters: tuple[str, ...],
    tokenizer: str | None,
    output: Path,
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
    """Merge BRICKs into BASE, without a manifest.

    BASE and BRICK are `hf:owner/name[@revision]`, `path:folder`, `./folder` or `/folder`.

    `--tokenizer` takes a BRICK by its reference or its name (`chat` for `./models/chat`), and it may be one that is not
    merged.
    """
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.compose import TOKENIZERS, Composition, merge_step, name_bricks, name_tokenizer

    named = name_bricks(bricks, reserved=TOKENIZERS)
    source, everyone = (None, named) if tokenizer is None else name_tokenizer(tokenizer, base, named)
    step = merge_step(method, tuple(named), weights, parameters, source)
    composition = Composition(base=base, bricks=everyone, step=step, dtype=dtype, shard_size=shard_size)
    budget = Budget(threads=threads, memory=memory, device=device)
    compose(console, composition, output, budget, save=save, dry_run=dry_run, offline=offline)
