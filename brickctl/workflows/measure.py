"""Measure: what built models can do, by running them on the project's checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.analysis.checks.check import read_gates
from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.core.numbers import Scalar
from brickctl.core.parameters import defaults
from brickctl.errors import NotFound
from brickctl.merging.task_arithmetic import TaskArithmetic
from brickctl.operations.combine import Entry
from brickctl.operations.merge import Merge
from brickctl.operations.target import Recipe, read_recipe
from brickctl.workflows.checking.data import read_data
from brickctl.workflows.checking.run import open_run
from brickctl.workflows.files import refuse_link
from brickctl.workflows.replace import check_replaceable
from brickctl.workflows.scratch import scratch_folder
from brickctl.workflows.session import SKILLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.analysis.checks.check import Gate
    from brickctl.core.lock import Lock
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.checking.score import Score
    from brickctl.workflows.session import Session


def read_checks(session: Session, names: Sequence[str], *, followed: bool = False) -> tuple[Gate, ...]:
    """The checks named (by check or by target), or all; their data is read once to be sure that it is there.

    With `followed` also those that a regression among them is about.

    Raises:
        NotFound: nothing is called so, or there is no check at all.
        ManifestInvalid: a check that cannot be read.
        UsageFault: the data of a check cannot be.
    """
    checks = read_gates(session.manifest.checks)
    known = [name for check in checks for name in (check.name, check.target)]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(dict.fromkeys(known)) or 'none'}"
            raise NotFound(f"`{name}` is neither a check nor a target with checks", hint=hint)
    chosen = tuple(check for check in checks if not names or check.name in names or check.target in names)
    if followed:
        about = [check.followed.name for check in chosen if check.followed is not None]
        chosen = tuple(check for check in checks if check in chosen or check.name in about)
    if not chosen:
        raise NotFound("brick.toml has no check", hint="add a [[checks]] table with name, target, kind and data")
    for check in chosen:
        read_data(session, check)
    return chosen


def recipes_of(session: Session, checks: Sequence[Gate]) -> tuple[Recipe, ...]:
    """The recipes of the targets that checks are about."""
    targets = dict.fromkeys(check.target for check in checks)
    return tuple(read_recipe(session.manifest, session.manifest.targets[target]) for target in targets)


def gate(
    session: Session, lock: Lock, checks: Sequence[Gate], budget: Budget, *, again: bool = False
) -> Iterator[Score]:
    """Every check on its own target, built first where that is needed; targets in the order of the manifest.

    What an earlier run has measured of the same bytes is not measured again, unless it is to be done `again`.
    """
    run = open_run(session, lock, budget, again=again)
    for target in session.manifest.targets.values():
        mine = [check for check in checks if check.target == target.name]
        if mine:
            recipe = read_recipe(session.manifest, target)
            yield from run.scores(recipe, session.artifact_folder(target.name), mine)


def skills(
    session: Session, lock: Lock, checks: Sequence[Gate], budget: Budget, *, again: bool = False
) -> Iterator[Score]:
    """Every check on the base, on each brick alone with weight 1, and on every target that has a check.

    The models of base and bricks are made one after another in the project's cache, and removed again. What is held
    against an earlier result is so for its own target alone.
    """
    place = session.caches / SKILLS
    refuse_link(place)
    tested = [
        target for name, target in session.manifest.targets.items() if any(name == check.target for check in checks)
    ]
    for target in tested:  # not to find out after minutes of measuring bricks
        check_replaceable(session.artifact_folder(target.name))
    place.mkdir(exist_ok=True)
    run = open_run(session, lock, budget, again=again)
    plain = [check for check in checks if check.followed is None]
    for alias in session.manifest.requirements:
        with scratch_folder(place) as own:
            yield from run.scores(alone(alias), own / alias, plain, alone=True)
    for target in tested:
        mine = [check for check in checks if check.followed is None or check.target == target.name]
        yield from run.scores(read_recipe(session.manifest, target), session.artifact_folder(target.name), mine)


def alone(alias: Alias) -> Recipe:
    """The base with one brick merged in with weight 1; the base itself for `base`."""
    merge = Merge(chosen=defaults(TaskArithmetic), entries=(Entry(alias, Scalar(1.0)),))
    operations = () if alias == BASE else (merge,)
    return Recipe(name=alias, start=None, dtype=None, shard_size=None, operations=operations)
