"""Measure: what built models can do, by running them on the project's checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.checks.check import read_gates
from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.core.numbers import Scalar
from brickctl.core.parameters import defaults
from brickctl.errors import NotFound
from brickctl.merging.task_arithmetic import TaskArithmetic
from brickctl.operations.combine import Entry
from brickctl.operations.merge import Merge
from brickctl.operations.target import Recipe, read_recipe
from brickctl.workflows.build import build
from brickctl.workflows.files import refuse_link
from brickctl.workflows.replace import check_replaceable
from brickctl.workflows.scratch import scratch_folder
from brickctl.workflows.session import SKILLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from brickctl.analysis.checks.check import Gate
    from brickctl.analysis.checks.measured import Wrong
    from brickctl.analysis.load import Loaded
    from brickctl.core.lock import Lock
    from brickctl.core.manifest import Target
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one model reached in one check: a share in [0, 1], or a perplexity; `worst` are answers that were wrong."""

    check: Gate
    model: Alias
    value: float
    count: int
    worst: tuple[Wrong, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the value keeps to the bar of the check; a check without a bar is only measured."""
        return self.check.bar is None or self.check.bar.keeps(self.value)


def read_checks(session: Session, names: Sequence[str]) -> tuple[Gate, ...]:
    """The checks named (by check or by target), or all; their data is read once to be sure that it is there.

    Raises:
        NotFound: nothing is called so, or there is no check at all.
        ManifestInvalid: the data of a check cannot be read.
    """
    checks = read_gates(session.manifest.checks)
    known = [name for check in checks for name in (check.name, check.target)]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(dict.fromkeys(known)) or 'none'}"
            raise NotFound(f"`{name}` is neither a check nor a target with checks", hint=hint)
    chosen = tuple(check for check in checks if not names or check.name in names or check.target in names)
    if not chosen:
        raise NotFound("brick.toml has no check", hint="add a [[checks]] table with name, target, kind and data")
    for check in chosen:
        _read(session, check)
    return chosen


def recipes_of(session: Session, checks: Sequence[Gate]) -> tuple[Recipe, ...]:
    """The recipes of the targets that checks are about."""
    targets = dict.fromkeys(check.target for check in checks)
    return tuple(read_recipe(session.manifest, session.manifest.targets[target]) for target in targets)


def gate(session: Session, lock: Lock, checks: Sequence[Gate], budget: Budget) -> Iterator[Score]:
    """Every check on its own target, built first where that is needed; targets in the order of the manifest."""
    for target in session.manifest.targets.values():
        mine = [check for check in checks if check.target == target.name]
        if mine:
            yield from _built_scores(session, lock, target, mine, budget)


def skills(session: Session, lock: Lock, checks: Sequence[Gate], budget: Budget) -> Iterator[Score]:
    """Every check on the base, on each brick alone with weight 1, and on every target that has a check.

    The models of base and bricks are made one after another in the project's cache, and removed again.
    """
    place = session.caches / SKILLS
    refuse_link(place)
    tested = [
        target for name, target in session.manifest.targets.items() if any(name == check.target for check in checks)
    ]
    for target in tested:  # not to find out after minutes of measuring bricks
        check_replaceable(session.artifact_folder(target.name))
    place.mkdir(exist_ok=True)
    for alias in session.manifest.requirements:
        with scratch_folder(place) as own:
            recipe = alone(alias)
            built = build(session, recipe, own / alias, lock, budget)
            yield from _scores(session, recipe, built.folder, checks, budget)
    for target in tested:
        yield from _built_scores(session, lock, target, checks, budget)


def alone(alias: Alias) -> Recipe:
    """The base with one brick merged in with weight 1; the base itself for `base`."""
    merge = Merge(chosen=defaults(TaskArithmetic), entries=(Entry(alias, Scalar(1.0)),))
    operations = () if alias == BASE else (merge,)
    return Recipe(name=alias, start=None, dtype=None, shard_size=None, operations=operations)


def _built_scores(
    session: Session, lock: Lock, target: Target, checks: Sequence[Gate], budget: Budget
) -> Iterator[Score]:
    """Checks on a target, built first where that is needed."""
    recipe = read_recipe(session.manifest, target)
    built = build(session, recipe, session.artifact_folder(target.name), lock, budget)
    yield from _scores(session, recipe, built.folder, checks, budget)


def _scores(session: Session, recipe: Recipe, folder: Path, checks: Sequence[Gate], budget: Budget) -> Iterator[Score]:
    """Load a model once and run checks on it."""
    from brickctl.workflows.load_built import load_built

    loaded = load_built(recipe, folder, budget.threads)
    label = f"testing {recipe.name}"
    sizes = {check.name: len(_read(session, check)) for check in checks}
    session.events.start(label, sum(sizes.values()))
    for check in checks:
        yield _score(session, loaded, recipe.name, check)
        session.events.advance(label, sizes[check.name])
    session.events.finish(label)


def _score(session: Session, loaded: Loaded, model: Alias, check: Gate) -> Score:
    found = check.kind.measure(loaded.model, loaded.tokenizer, _read(session, check))
    return Score(check=check, model=model, value=found.value, count=found.count, worst=found.worst)


def _read(session: Session, check: Gate) -> Sequence[Any]:
    if check.data is None:
        return ()
    path = session.root / check.data
    if not path.exists():
        hint = "`data` is relative to brick.toml"
        raise NotFound(f"the data of check `{check.name}` is not there: {path}", hint=hint)
    return check.kind.read_data(path, check.data)
