"""One run of checks: each model is built and loaded only if something about it is not known from earlier runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.errors import asked_for
from brickctl.workflows.build import build, card_of, definition_of, notice_edits, up_to_date
from brickctl.workflows.checking.accept import held_against, read_accepted
from brickctl.workflows.checking.data import digest_of, read_data
from brickctl.workflows.checking.results import Results
from brickctl.workflows.checking.score import Origin, Score, asked_of
from brickctl.workflows.derived import require_derived
from brickctl.workflows.files import refuse_link
from brickctl.workflows.replace import check_replaceable
from brickctl.workflows.session import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from brickctl.analysis.checks.check import Gate
    from brickctl.analysis.checks.measured import Measured
    from brickctl.analysis.load import Loaded
    from brickctl.core.accepted import Accepted
    from brickctl.core.digests import Sha256
    from brickctl.core.lock import Lock
    from brickctl.core.names import Alias
    from brickctl.operations.target import Recipe
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What all models of a run have in common.

    Attributes:
        again: measure also what an earlier run has measured.
        folder: where results of earlier runs lie.
        accepted: the results that were accepted, by their check.
    """

    session: Session
    lock: Lock
    budget: Budget
    again: bool
    folder: Path
    accepted: Mapping[str, Accepted]

    def scores(self, recipe: Recipe, folder: Path, checks: Sequence[Gate], *, alone: bool = False) -> Iterator[Score]:
        """Checks on what a recipe builds into a folder; `alone` where it is the base or a brick, beside targets."""
        asked = {check.measured.name: check.measured for check in checks}
        results = Results(self.folder, _marked(recipe, alone=alone), again=self.again)
        origins, known = self._known(recipe, folder, tuple(asked.values()), results)
        if len(known) == len(asked) and not alone and not folder.exists():
            self.session.events.note(f"{recipe.name} was not built: all that is asked of it is known")
        if len(known) < len(asked):
            built = build(self.session, recipe, folder, self.lock, self.budget)
            results.remember(recipe, self.lock, built)
            origins = self._origins(built.digest, tuple(asked.values()))
            known = _found(results, asked, origins)
        rest = [check for name, check in asked.items() if name not in known]
        measured = {**known, **self._measured(recipe, folder, rest, origins, results)} if rest else known
        for check in checks:
            name = check.measured.name
            yield self._score(check, recipe.name, measured[name], origins[name], cached=name in known, alone=alone)

    def known_scores(
        self, recipe: Recipe, folder: Path, checks: Sequence[Gate], *, alone: bool = False
    ) -> Iterator[Score]:
        """What earlier runs have found out of the same bytes; builds nothing, measures nothing, and forgets nothing."""
        asked = {check.measured.name: check.measured for check in checks}
        results = Results(self.folder, _marked(recipe, alone=alone))
        artifact = self._artifact(recipe, folder, results)
        if artifact is None:
            return
        origins = self._origins(artifact, tuple(asked.values()))
        known = _found(results, asked, origins)
        for check in checks:
            name = check.measured.name
            if name in known:
                yield self._score(check, recipe.name, known[name], origins[name], cached=True, alone=alone)

    def _known(
        self, recipe: Recipe, folder: Path, asked: Sequence[Gate], results: Results
    ) -> tuple[Mapping[str, Origin], Mapping[str, Measured]]:
        """What is known without building; nothing where nobody can say what would be built."""
        artifact = self._artifact(recipe, folder, results)
        if artifact is None:
            return {}, {}
        origins = self._origins(artifact, asked)
        return origins, _found(results, {check.name: check for check in asked}, origins)

    def _artifact(self, recipe: Recipe, folder: Path, results: Results) -> Sha256 | None:
        """The digest of what lies in the folder, if it is up to date; of what was built before, if there is none."""
        check_replaceable(folder)
        require_derived(self.session.manifest, self.lock, recipe.aliases, compare=False)
        notice_edits(self.session, recipe, self.lock)
        definition, card = definition_of(recipe, self.lock), card_of(recipe, self.lock)
        if os.path.lexists(folder):  # what somebody has changed is made anew: nothing untested shall lie there
            return up_to_date(self.session, folder, definition, card)
        return results.artifact(recipe, self.lock)

    def _origins(self, artifact: Sha256, asked: Sequence[Gate]) -> Mapping[str, Origin]:
        return {
            check.name: Origin(artifact=artifact, data=digest_of(self.session, check), asked=asked_of(check))
            for check in asked
        }

    def _measured(
        self, recipe: Recipe, folder: Path, checks: Sequence[Gate], origins: Mapping[str, Origin], results: Results
    ) -> Mapping[str, Measured]:
        """Load a model once and run checks on it."""
        from brickctl.workflows.load_built import load_built

        loaded = load_built(recipe, folder, self.budget.threads)
        label = f"testing {recipe.name}"
        self.session.events.start(label, len(checks), "check" if len(checks) == 1 else "checks")
        found: dict[str, Measured] = {}
        for check in checks:
            found[check.name] = self._measure(loaded, check, origins[check.name], results)
            self.session.events.advance(label, 1)
        self.session.events.finish(label)
        return found

    def _measure(self, loaded: Loaded, check: Gate, origin: Origin, results: Results) -> Measured:
        with asked_for(check.place):
            found = check.kind.measure(loaded.model, loaded.tokenizer, read_data(self.session, check))
        if digest_of(self.session, check) == origin.data:  # else somebody is just writing it
            results.keep(check, origin, found)
        return found

    def _score(self, check: Gate, model: Alias, found: Measured, origin: Origin, *, cached: bool, alone: bool) -> Score:
        """What was measured, and what it is held against."""
        against, doubt = (None, None) if check.followed is None else held_against(check, origin, self.accepted)
        return Score(
            check=check,
            model=model,
            value=found.value,
            count=found.count,
            worst=found.worst,
            origin=origin,
            cached=cached,
            alone=alone,
            against=against,
            doubt=doubt,
        )


def open_run(session: Session, lock: Lock, budget: Budget, *, again: bool) -> Run:
    """A run in a project.

    Raises:
        UsageFault: its cache is a link.
        LockInvalid: its accepted results cannot be read.
    """
    folder = session.caches / RESULTS
    refuse_link(folder)
    accepted = read_accepted(session)
    return Run(session=session, lock=lock, budget=budget, again=again, folder=folder, accepted=accepted)


def _marked(recipe: Recipe, *, alone: bool) -> str:
    """The name under which results of a model are marked as needed: of no other, although names of bricks may recur."""
    return f"(alone) {recipe.name}" if alone else recipe.name


def _found(results: Results, asked: Mapping[str, Gate], origins: Mapping[str, Origin]) -> Mapping[str, Measured]:
    found = {name: results.measured(check, origins[name]) for name, check in asked.items()}
    return {name: measured for name, measured in found.items() if measured is not None}
