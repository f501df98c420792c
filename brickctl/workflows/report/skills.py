"""What earlier runs of `brickctl test` found out of a target, its base and its bricks; nothing is measured here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.analysis.checks.check import read_gates
from brickctl.core.names import BASE
from brickctl.errors import LockStale, NotFound, UsageFault
from brickctl.pages.target.contents import Check, Score, Skills
from brickctl.tensors.executor import Budget
from brickctl.workflows.checking import telling
from brickctl.workflows.checking.run import open_run
from brickctl.workflows.measure import alone
from brickctl.workflows.session import CACHES, SKILLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.analysis.checks.check import Gate
    from brickctl.core.lock import Lock
    from brickctl.core.names import Alias
    from brickctl.operations.target import Recipe
    from brickctl.workflows.checking.score import Score as Measured
    from brickctl.workflows.session import Session


def skills(session: Session, recipe: Recipe, lock: Lock | None) -> Skills | None:
    """The checks that are about a target or were measured of it, with what is known; None where there are none.

    Raises:
        ManifestInvalid: a check that cannot be read.
        LockInvalid: results that were accepted cannot be read.
    """
    gates = [gate for gate in read_gates(session.manifest.checks) if _has_data(session, gate)]
    fetched = [alias for alias in recipe.aliases if alias in session.manifest.requirements]
    models = (recipe.name, BASE, *fetched)
    found = [] if lock is None or not _is_cached(session) else list(_known(session, recipe, lock, gates, fetched))
    measured = {score.check.name for score in found if score.model == recipe.name}
    told = [gate for gate in gates if gate.target == recipe.name or gate.name in measured]
    if not told:
        return None
    names = [gate.name for gate in told]
    scores = tuple(_score(score, recipe) for score in found if score.check.name in names)
    return Skills(checks=tuple(_check(gate, found) for gate in told), models=models, scores=scores)


def _known(
    session: Session, recipe: Recipe, lock: Lock, gates: Sequence[Gate], bricks: Sequence[Alias]
) -> Iterator[Measured]:
    """Results of the target, then of the base and of each brick alone, as `brickctl test --bricks` measures them."""
    run = open_run(session, lock, Budget(threads=1), again=False)
    plain = [gate for gate in gates if gate.followed is None]
    mine = [gate for gate in gates if gate.followed is None or gate.target == recipe.name]
    place = session.root / CACHES / SKILLS
    everyone = [(recipe, session.artifact_folder(recipe.name), mine, False)]
    everyone += [(alone(alias), place / alias, plain, True) for alias in (BASE, *bricks)]
    for model, folder, asked, is_alone in everyone:
        try:
            yield from run.known_scores(model, folder, asked, alone=is_alone)
        except (LockStale, NotFound, UsageFault):
            continue  # a derived brick never made, a brick that the lock lacks, or something else where a target goes


def _is_cached(session: Session) -> bool:
    """Whether the project has a cache at all; one is not made to find nothing in it."""
    return (session.root / CACHES).is_dir()


def _has_data(session: Session, gate: Gate) -> bool:
    data = gate.measured.data
    return data is None or (session.root / data).exists()


def _check(gate: Gate, found: Sequence[Measured]) -> Check:
    known = next((score for score in found if score.check.name == gate.name and score.gates), None)
    kind = gate.measured.kind
    if known is not None:
        bar = telling.bar(known)
    else:
        bar = "" if gate.bar is None else f"{'>=' if gate.bar.good == 'min' else '<='} {kind.figure(gate.bar.value)}"
    return Check(
        name=gate.name,
        kind=gate.kind_name,
        target=gate.target,
        bar="" if bar == "-" else bar,
        share=kind.unit == "share",
    )


def _score(score: Measured, recipe: Recipe) -> Score:
    return Score(
        check=score.check.name,
        model=score.model,
        value=score.value,
        words=telling.figure(score),
        count=score.count,
        passed=score.passed if score.gates and score.model == recipe.name else None,
        worst=telling.worst(score),
    )
