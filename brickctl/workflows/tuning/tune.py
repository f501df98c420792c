"""Tune: search for the numbers of a target, let held-out data decide, and write down what was found."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.step_edit import change_steps
from brickctl.errors import Busy, ManifestInvalid
from brickctl.workflows.analyzing.subject import Workplace
from brickctl.workflows.checking.run import open_run
from brickctl.workflows.files import refuse_link, write_texts_of_user
from brickctl.workflows.lock import lock_for
from brickctl.workflows.scratch import scratch_folder
from brickctl.workflows.session import MANIFEST, TUNING
from brickctl.workflows.tuning.candidates import Candidates, Standing
from brickctl.workflows.tuning.deciding import HeldOut, is_better
from brickctl.workflows.tuning.measured import opened
from brickctl.workflows.tuning.model import opened_model, require_one_model
from brickctl.workflows.tuning.note import MARK, note
from brickctl.workflows.tuning.search import Trial, require_samplers, search
from brickctl.workflows.tuning.space import spaces_of, start_of
from brickctl.workflows.tuning.wish import checks_of, read_material, refuse_held_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from brickctl.analysis.checks.check import Gate
    from brickctl.operations.target import Recipe
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.checking.score import Score
    from brickctl.workflows.lock import LockMode
    from brickctl.workflows.session import Session
    from brickctl.workflows.tuning.measured import Measured
    from brickctl.workflows.tuning.space import Space
    from brickctl.workflows.tuning.wish import Material, Wish

GIVEN_UP = 1.0
"""By how many nats a token a candidate may be worse than what stands in brick.toml before the rest of it is not read.

Beyond that nothing is right, and which of two such candidates is worse tells a sampler little.
"""

WINNER = ".winner"
"""The folder of what was found, beside that of the target: no target is called so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found by the examples that it was given.

    Attributes:
        start: what stands in brick.toml.
        winner: the best of all, which may be the start.
        tried: how many candidates there were beside the start.
        made: how often a file of examples was read now, and not in an earlier run.
        before: what the start reaches,
        after: and the winner.
    """

    start: Trial
    winner: Trial
    tried: int
    made: int
    before: Standing
    after: Standing

    @property
    def is_new(self) -> bool:
        """Whether the winner is another than what stands there."""
        return self.winner is not self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What became of a search.

    Attributes:
        held_out: each check before and after; twice the same where nothing new was found.
        is_better: whether the winner is, on held-out data.
        written: whether it stands in brick.toml now.
    """

    found: Found
    held_out: tuple[HeldOut, ...]
    is_better: bool
    written: bool


def tune(session: Session, wish: Wish, mode: LockMode, budget: Budget) -> Tuned:
    """Search, decide, and write; what was measured is kept, so that the same search goes on where it was stopped.

    Raises:
        NotFound: there is no such target, no check of it, or no such file.
        UsageFault: there is nothing to tune, an example is held out, or cannot be read.
        Unsupported: Optuna is not there, or the target is not one model.
        ManifestInvalid: brick.toml cannot be read, or not be edited safely.
        Busy: brick.toml was saved by somebody else in the meantime.
        BrickctlError: as `build` raises.
    """
    text = (session.root / MANIFEST).read_bytes().decode("utf-8")
    here = start_of(session.manifest, text, wish)
    spaces = spaces_of(here, text, wish)
    checks, materials = checks_of(session, wish.target), read_material(wish.data)
    refuse_held_out(session, materials, checks)
    require_samplers()
    if not wish.dry_run:
        _require_editable(text, (here, *spaces))
    first = here.recipe(here.start)
    lock = lock_for(session, mode, [first])
    workplace = Workplace(session=session, lock=lock, budget=budget)
    require_one_model(workplace, first)
    with _place(session) as (scratch, measured):
        # first: what checks cannot measure is better known before a search than behind it
        before = _reached(workplace, "what stands in brick.toml", first, scratch / first.name, checks)
        found = _found(workplace, wish, (here, *spaces) if wish.methods else (here,), materials, measured, scratch)
        after = before
        if found.is_new:
            recipe = found.winner.space.recipe(found.winner.values)
            after = _reached(workplace, "what was found", recipe, scratch / WINNER, checks)
        held_out = tuple(HeldOut(before=one, after=other) for one, other in zip(before, after, strict=True))
    better = found.is_new and is_better(held_out)
    written = found.is_new and (better or wish.force) and not wish.dry_run
    if written:
        _write(session, text, wish, found, held_out, materials)
    return Tuned(found=found, held_out=held_out, is_better=better, written=written)


@contextmanager
def _place(session: Session) -> Iterator[tuple[Path, Measured]]:
    """An empty folder for models, and the numbers of earlier searches; who stops is told that nothing is lost."""
    place = session.caches / TUNING
    refuse_link(place)
    place.mkdir(exist_ok=True)
    with scratch_folder(place) as scratch, opened(place, session.events) as measured:
        try:
            yield scratch, measured
        except KeyboardInterrupt:
            session.events.note("what was measured is kept: the same command goes on from there")
            raise


def _found(
    workplace: Workplace,
    wish: Wish,
    spaces: Sequence[Space],
    materials: Sequence[Material],
    measured: Measured,
    scratch: Path,
) -> Found:
    """Search each space, the first of which has the start; it is searched only where it is the only one."""
    here, *others = spaces
    with opened_model(workplace, spaces, here.recipe(here.start), scratch) as model:
        candidates = Candidates(model, materials, measured)
        before = candidates.standing(here, here.start)
        if math.isinf(before.loss) and candidates.refusal is not None:
            raise candidates.refusal
        candidates.limit = before.loss + GIVEN_UP
        objective = before.loss + wish.alpha * here.size(here.start)
        start = Trial(space=here, number=0, values=here.start, objective=objective)
        trials = list(_trials(workplace, wish, others or [here], candidates))
        winner, after = _most_right(start, trials, candidates)
        return Found(
            start=start,
            winner=winner,
            tried=len(trials) - len(others or [here]),
            made=candidates.made,
            before=before,
            after=after,
        )


def _trials(workplace: Workplace, wish: Wish, spaces: Sequence[Space], candidates: Candidates) -> Iterator[Trial]:
    """Every trial of every space, which share the number of trials that is wished for."""
    label, events = f"tuning {wish.target}", workplace.session.events
    events.start(label, wish.trials, "trials")
    for number, space in enumerate(spaces):
        share = wish.trials // len(spaces) + (number < wish.trials % len(spaces))
        objective = _Objective(candidates, space, wish.alpha)
        for trial in search(space, objective, sampler=wish.sampler, seed=wish.seed, trials=share):
            yield trial
            events.advance(label, int(trial.number > 0))
    events.finish(label)


@dataclass(frozen=True, slots=True)
class _Objective:
    """LoraHub's: the mean loss, and `alpha` times the sum of all |weight|."""

    candidates: Candidates
    space: Space
    alpha: float

    def __call__(self, values: tuple[float, ...]) -> float:
        return self.candidates.standing(self.space, values).loss + self.alpha * self.space.size(values)


def _most_right(start: Trial, trials: Sequence[Trial], candidates: Candidates) -> tuple[Trial, Standing]:
    """The trial that answers most right, of equals the one with the least objective, of these the first."""
    standings = [(trial, candidates.standing(trial.space, trial.values)) for trial in (start, *trials)]
    whole = [(trial, standing) for trial, standing in standings if standing.whole]
    return min(whole or standings, key=lambda pair: (-(pair[1].right or 0.0), pair[0].objective))


def _reached(
    workplace: Workplace, what: str, recipe: Recipe, folder: Path, checks: Sequence[Gate]
) -> tuple[Score, ...]:
    """What a recipe reaches on held-out data, built into a folder and loaded as anybody would."""
    workplace.session.events.note(f"measuring what held-out data says of {what}")
    run = open_run(workplace.session, workplace.lock, workplace.budget, again=False)
    return tuple(run.scores(recipe, folder, checks))


def _require_editable(text: str, spaces: Sequence[Space]) -> None:
    """Make sure, before minutes of work, that what is found can be written.

    Raises:
        ManifestInvalid: brick.toml is written in a way that cannot be edited safely.
    """
    try:
        for space in spaces:
            change_steps(text, space.target.name, space.tables(space.start), ["brickctl: whatever is found"], MARK)
    except ManifestInvalid as invalid:
        target = spaces[0].target.name
        hint = f"write the steps of [targets.{target}] below it, or search with --dry-run and write by hand"
        raise ManifestInvalid(invalid.message, place=invalid.place, hint=hint) from None


def _write(
    session: Session,
    text: str,
    wish: Wish,
    found: Found,
    held_out: Sequence[HeldOut],
    materials: Sequence[Material],
) -> None:
    """Put the winner into brick.toml, with a comment that says how it was found.

    Raises:
        Busy: it was saved by somebody else in the meantime.
        ManifestInvalid: it is written in a way that cannot be edited safely.
    """
    winner = found.winner
    tables = winner.space.tables(winner.values)
    edited = change_steps(text, wish.target, tables, note(wish, found, held_out, materials), MARK)
    path = session.root / MANIFEST
    if path.read_bytes() != text.encode():
        cause = "it was saved by somebody else while this command was at work"
        hint = "run the command again: what was measured is kept"
        raise Busy(f"{MANIFEST} has changed", causes=(cause,), hint=hint)
    write_texts_of_user({path: edited.encode()})
