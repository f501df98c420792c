"""`brickctl tune`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.workflows.checking.score import Score
    from brickctl.workflows.tuning.tune import Found, Tuned
    from brickctl.workflows.tuning.wish import Sampler


@click.command()
@click.argument("target", shell_complete=suggestions.targets)
@click.option(
    "--data",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="JSON lines of examples to tune by, a file for each skill; none that a check has.  [repeatable]",
)
@click.option("--trials", type=click.IntRange(min=1), default=40, show_default=True, help="How many are tried.")
@click.option(
    "--sampler",
    type=click.Choice(["gp", "cmaes", "tpe"]),
    default="gp",
    show_default=True,
    help="What is tried next: by a Gaussian process, CMA-ES, or Parzen estimators.",
)
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), default=0, show_default=True, help="Of the search.")
@click.option("--method", "methods", multiple=True, metavar="NAME", help="Merge method to try instead.  [repeatable]")
@click.option("--only", multiple=True, metavar="NAME", help="Change only numbers of this name.  [repeatable]")
@click.option(
    "--gradient",
    "points",
    type=click.IntRange(min=1, max=64),
    default=1,
    metavar="N",
    help="Give each weight so many numbers over depth.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(min=0.0),
    default=0.0,
    show_default=True,
    help="What a weight of 1 costs beside the loss; LoraHub takes 0.05.",
)
@click.option("--force", is_flag=True, help="Write what was found also where held-out data is against it.")
@click.option("--dry-run", is_flag=True, help="Search and measure, and leave brick.toml as it is.")
@options.project
@options.locked
@options.frozen
@options.offline
@options.memory
@options.threads
@options.console
def command(
    *,
    target: str,
    data: tuple[Path, ...],
    trials: int,
    sampler: Sampler,
    seed: int,
    methods: tuple[str, ...],
    only: tuple[str, ...],
    points: int,
    alpha: float,
    force: bool,
    dry_run: bool,
    project: Path,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    """Find better weights for the merges of TARGET, and write them into brick.toml.

    Candidates are compared by their loss on the examples of --data, in memory. What the [[checks]] of TARGET say
    decides whether the best of them takes the place of what stands there. What was measured is kept: a search that was
    stopped goes on, and the same seed gives the same winner.
    """
    from brickctl.core.names import Alias
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.lock import mode_for
    from brickctl.workflows.session import open_session
    from brickctl.workflows.tuning.tune import tune
    from brickctl.workflows.tuning.wish import Wish

    wish = Wish(
        target=Alias(target),
        data=data,
        trials=trials,
        sampler=sampler,
        seed=seed,
        alpha=alpha,
        points=points,
        methods=methods,
        only=only,
        force=force,
        dry_run=dry_run,
    )
    session = open_session(project, console, offline=offline)
    mode = mode_for(locked=locked, frozen=frozen)
    tuned = tune(session, wish, mode, Budget(threads=threads, memory=memory))
    _show(console, tuned)
    console.note(_verdict(target, tuned, dry_run=dry_run))
    console.answer(_document(wish.target, seed, tuned))


def _show(console: Console, tuned: Tuned) -> None:
    """A table of the numbers, and one of what held-out data says of both."""
    from brickctl.workflows.checking.telling import figure

    rows = [(name, before, after) for name, before, after in _numbers(tuned.found)]
    console.table((tuned.found.winner.space.label, "before", "after"), rows)
    console.show("")
    pairs = [(figure(pair.before), figure(pair.after), _mark(pair.after)) for pair in tuned.held_out]
    checks = [pair.before.check.name for pair in tuned.held_out]
    console.table(
        ("held out", "before", "after", ""), [(name, *pair) for name, pair in zip(checks, pairs, strict=True)]
    )


def _numbers(found: Found) -> list[tuple[str, str, str]]:
    """Each number of the winner, with what stood there before where it did."""
    before = found.start.numbers
    return [
        (name, f"{before[name]:g}" if name in before else "-", f"{value:g}")
        for name, value in found.winner.numbers.items()
    ]


def _mark(score: Score) -> str:
    return "ok" if score.passed else "MISSED"


def _verdict(target: str, tuned: Tuned, *, dry_run: bool) -> str:
    """What became of brick.toml, and why."""
    if not tuned.found.is_new:
        more = "more `--trials`, another `--seed` or `--method` may find it"
        return f"{target}: nothing better was found in {tuned.found.tried} trials, brick.toml stays as it is; {more}"
    if tuned.written:
        rest = "" if tuned.is_better else ", though held-out data is against it (--force)"
        return f"{target}: brick.toml has what was found{rest}"
    if tuned.is_better and dry_run:
        return f"{target}: held-out data is for what was found; brick.toml stays as it is (--dry-run)"
    return f"{target}: held-out data is against what was found: brick.toml stays as it is"


def _document(target: str, seed: int, tuned: Tuned) -> dict[str, Any]:
    found = tuned.found
    return {
        "target": target,
        "seed": seed,
        "trials": found.tried,
        "measured": found.made,
        "method": found.winner.space.label,
        "numbers": found.winner.numbers,
        "steps": found.winner.space.tables(found.winner.values),
        "loss": {"before": _finite(found.before.loss), "after": _finite(found.after.loss)},
        "right": {"before": found.before.right, "after": found.after.right},
        "held_out": [
            {
                "check": pair.before.check.name,
                "kind": pair.before.check.kind_name,
                "before": _finite(pair.before.value),
                "after": _finite(pair.after.value),
                "passed": pair.after.passed,
            }
            for pair in tuned.held_out
        ],
        "better": tuned.is_better,
        "written": tuned.written,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
