"""`brickctl test`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brickctl.cli.console import Console
    from brickctl.workflows.measure import Score


@click.command()
@click.argument("names", nargs=-1, metavar="[CHECK|TARGET]...", shell_complete=suggestions.checks_and_targets)
@click.option("--bricks", is_flag=True, help="Also measure the base and each brick alone, as a table of skills.")
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
    project: Path,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    """Run the [[checks]] of brick.toml on what their targets build to.

    Locks, installs and builds first where that is needed. Exit code 8 when a check misses its bar.
    """
    from brickctl.tensors.executor import Budget
    from brickctl.workflows import measure
    from brickctl.workflows.lock import lock_for, mode_for
    from brickctl.workflows.session import open_session

    mode = mode_for(locked=locked, frozen=frozen)
    session = open_session(project, console, offline=offline)
    checks = measure.read_checks(session, names)
    lock = lock_for(session, mode, measure.recipes_of(session, checks))
    run = measure.skills if bricks else measure.gate
    scores = list(run(session, lock, checks, Budget(threads=threads, memory=memory)))
    gates = [score for score in scores if score.model == score.check.target]
    if bricks:
        _show_skills(console, scores)
    else:
        _show_gates(console, gates)
    documents = tuple(map(_document, scores))
    _fail_if_missed(gates, documents)
    console.answer({"passed": True, "scores": documents})


def _document(score: Score) -> dict[str, Any]:
    gated = score.model == score.check.target
    return {
        "check": score.check.name,
        "kind": score.check.kind_name,
        "model": score.model,
        "value": score.value if math.isfinite(score.value) else None,
        "count": score.count,
        "passed": score.passed if gated else None,
        "worst": [{"prompt": wrong.prompt, "wanted": wrong.wanted, "got": wrong.got} for wrong in score.worst],
    }


def _show_skills(console: Console, scores: Sequence[Score]) -> None:
    """A row for each model, a column for each check."""
    checks = list(dict.fromkeys(score.check.name for score in scores))
    models = list(dict.fromkeys(score.model for score in scores))
    cells = {(score.model, score.check.name): _figure(score) for score in scores}
    console.table(("model", *checks), [(model, *(cells[model, check] for check in checks)) for model in models])


def _show_gates(console: Console, scores: Sequence[Score]) -> None:
    rows = [
        (score.check.name, score.model, _figure(score), _bar(score), "ok" if score.passed else "MISSED")
        for score in scores
    ]
    console.table(("check", "target", "reached", "bar", ""), rows)


def _figure(score: Score) -> str:
    return score.check.kind.figure(score.value)


def _bar(score: Score) -> str:
    bar = score.check.bar
    return "-" if bar is None else f"{'>=' if bar.good == 'min' else '<='} {score.check.kind.figure(bar.value)}"


def _fail_if_missed(gates: Sequence[Score], documents: tuple[dict[str, Any], ...]) -> None:
    """Raise CheckFailed with each figure, its bar, and what went wrong."""
    from brickctl.errors import CheckFailed

    missed = [score for score in gates if not score.passed]
    if not missed:
        return
    causes = [
        f"`{score.check.name}` on `{score.model}` reached {_figure(score)}, not {_bar(score)}" for score in missed
    ]
    causes += [score.check.kind.told(wrong) for score in missed for wrong in score.worst]
    message = f"{len(missed)} of {len(gates)} checks missed the bar"
    place = missed[0].check.place
    failed = CheckFailed(message, causes=tuple(causes), place=place, hint="change the recipe, or the bar")
    failed.scores = documents
    raise failed
