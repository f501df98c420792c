"""`brickctl test`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.cli.console import Console
    from brickctl.workflows.checking.score import Score
    from brickctl.workflows.session import Session

_CHANGE = "change the recipe, or the bar"


@click.command()
@click.argument("names", nargs=-1, metavar="[CHECK|TARGET]...", shell_complete=suggestions.checks_and_targets)
@click.option("--bricks", is_flag=True, help="Also measure the base and each brick alone, as a table of skills.")
@click.option("--accept", is_flag=True, help="Write what was reached to brick.results.toml, for regression checks.")
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a report for CI there, also when a check misses its bar.",
)
@click.option("--force", is_flag=True, help="Measure again what an earlier run measured.")
@options.project
@options.locked
@options.frozen
@options.offline
@options.memory
@options.threads
@options.console
def command(
    *,
    names: tuple[str, ...],
    bricks: bool,
    accept: bool,
    junit: Path | None,
    force: bool,
    project: Path,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    """Run the [[checks]] of brick.toml on what their targets build to.

    Locks, installs and builds first where that is needed. What was measured before of the same bytes, with the same
    data, is not measured again. Exit code 8 when a check misses its bar.
    """
    from brickctl.cli import scores as telling
    from brickctl.tensors.executor import Budget
    from brickctl.workflows import measure
    from brickctl.workflows.checking.junit import check_place
    from brickctl.workflows.lock import lock_for, mode_for
    from brickctl.workflows.session import open_session

    mode = mode_for(locked=locked, frozen=frozen)
    session = open_session(project, console, offline=offline)
    if junit is not None:
        check_place(junit)
    checks = measure.read_checks(session, names, followed=accept)
    lock = lock_for(session, mode, measure.recipes_of(session, checks))
    run = measure.skills if bricks else measure.gate
    scores = list(run(session, lock, checks, Budget(threads=threads, memory=memory), again=force))
    gates = [score for score in scores if score.gates]
    missed = [score for score in gates if not score.passed and not (accept and score.check.followed is not None)]
    if bricks:
        telling.show_skills(console, scores)
    else:
        telling.show_gates(console, gates, missed)
    telling.note_cached(console, scores)
    _report(session, junit, gates)
    documents = tuple(map(telling.document, scores))
    telling.fail_if_missed(missed, len(gates), documents, f"{_CHANGE}; nothing was accepted" if accept else _CHANGE)
    answer = {"passed": True, "scores": documents}
    console.answer({**answer, "accepted": _accept(session, console, gates)} if accept else answer)


def _report(session: Session, file: Path | None, gates: Sequence[Score]) -> None:
    """Write the report for CI, if one is asked for."""
    from brickctl.workflows.checking.junit import junit
    from brickctl.workflows.files import write_texts_of_user

    if file is not None:
        write_texts_of_user({file: junit(session.manifest.project.name, gates)})


def _accept(session: Session, console: Console, gates: Sequence[Score]) -> bool:
    """Write down what was reached; whether that is news."""
    from brickctl.core.accepted import FILE
    from brickctl.workflows.checking.accept import accept

    written = accept(session, gates)
    console.note(f"{FILE} holds what was reached; commit it" if written else f"{FILE} holds these results already")
    return written
