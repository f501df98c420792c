"""`brickctl unlearn`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions
from brickctl.cli.build import show_built
from brickctl.cli.findings import findings_document, show_findings

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.tensors.device import Device

_TEXT = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("model", shell_complete=suggestions.folders)
@click.argument("bricks", nargs=-1, required=True, metavar="BRICK...", shell_complete=suggestions.folders)
@click.option("--facts", type=_TEXT, required=True, help="JSON lines of the facts that are to be forgotten.")
@click.option("--calibration", type=_TEXT, required=True, help="JSON lines of text that is to be known as before.")
@click.option(
    "-w",
    "--weight",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="How much of each brick is taken away.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the artifact.")
@options.dtype
@options.save
@options.offline
@options.memory
@options.threads
@options.device
@options.console
def command(
    *,
    model: str,
    bricks: tuple[str, ...],
    facts: Path,
    calibration: Path,
    weight: float,
    output: Path,
    dtype: str | None,
    save: Path | None,
    offline: bool,
    memory: int | None,
    threads: int,
    device: Device | None,
    console: Console,
) -> None:
    """Take BRICKs out of MODEL again, and say what became of facts.

    It is `brickctl merge` with a negative weight, and the table of `brickctl edit`: how MODEL did before, and what came
    out. A line of the facts is `{"subject": ..., "prompt": ..., "target": ...}`, as for `edit`.
    """
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.compose import Composition, merge_step, name_bricks, run
    from brickctl.workflows.unlearn import forgotten, read_questions

    questions = read_questions(facts, calibration)
    named = name_bricks(bricks)
    step = merge_step("task_arithmetic", tuple(named), [-weight], ())
    composition = Composition(base=model, bricks=named, step=step, dtype=dtype)
    budget = Budget(threads=threads, memory=memory, device=device)
    built = run(composition, output, console, budget, offline=offline, save=save)
    findings = forgotten(composition, built.folder, questions, console, budget)
    show_findings(console, output.name, findings)
    show_built(console, [built], more=findings_document(findings))
