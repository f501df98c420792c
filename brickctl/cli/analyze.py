"""`brickctl analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.tensors.device import Device


@click.command()
@click.argument("model", required=False, metavar="[MODEL]", shell_complete=suggestions.models)
@click.option(
    "--prompts",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help='Labelled prompts: lines of {"text": ..., "label": ...}.  [default: prompts.jsonl beside brick.toml]',
)
@click.option(
    "--only",
    metavar="NAME[,NAME...]",
    shell_complete=suggestions.measurements,
    help="sparsity, specialisation, partition, perturbation, split, bricks.  [default: all that apply]",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    metavar="N",
    default=20_000,
    show_default=True,
    help="Tokens that are read, the same share for each label.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="Of the choice of prompts.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    show_default="as many as make 2,048 tokens",
    help="Prompts that are read at once.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where analysis.json and report.html go.  [default: analysis/MODEL]",
)
@click.option("--png", is_flag=True, help="Write every plot as a picture too.")
@options.running_device
@options.project_if_any
@options.locked
@options.frozen
@options.offline
@options.memory
@options.threads
@options.console
def command(
    *,
    model: str | None,
    prompts: Path | None,
    only: str | None,
    tokens: int,
    seed: int,
    batch: int | None,
    output: Path | None,
    png: bool,
    device: Device | None,
    project: Path | None,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    """See inside MODEL: which of its neurons are active, what for, and what is lost without them.

    MODEL is a target, `base` or a brick of the project, or a folder such as `./model`; the first target if none is
    named. A target is built first. Says how long it takes before it begins; after Ctrl-C the same command goes on.
    """
    from brickctl.cli.analysis_tables import show_analysis
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.analyzing.analyze import analyze
    from brickctl.workflows.analyzing.desk import open_desk
    from brickctl.workflows.analyzing.output import write_analysis
    from brickctl.workflows.analyzing.wish import Wish, read_only
    from brickctl.workflows.lock import mode_for

    wish = Wish(only=read_only(only), tokens=tokens, seed=seed, batch=batch, threads=threads, device=device)
    budget = Budget(threads=threads, memory=memory)
    if device is not None:
        device.free()  # not to find out after the build that there is none
    desk = open_desk(project, model, budget, console, mode=mode_for(locked=locked, frozen=frozen), offline=offline)
    folder = desk.output_folder(output)
    file = desk.prompts(prompts)
    document = analyze(desk.subject(), file, wish, desk.pieces, console, desk.workplace)
    written = write_analysis(folder, document, console, png=png)
    console.answer({"folder": str(folder), "files": list(written), "analysis": document})
    show_analysis(console, document)
    console.show(f"\n{folder / written[-1 if len(written) == 1 else 1]}")
