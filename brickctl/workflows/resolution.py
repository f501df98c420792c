"""Resolution: which version of each brick a project gets, and the lock that says so."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from brickctl.core.lock import Lock, same_entry
from brickctl.core.names import BASE, Alias
from brickctl.core.needs import edges
from brickctl.core.staleness import echo, standing
from brickctl.operations.target import read_recipe
from brickctl.resolve.explanation import conflict, refuse_circles
from brickctl.resolve.search import Unsolvable, search
from brickctl.workflows.before import Before
from brickctl.workflows.catalogue import ProjectCatalogue
from brickctl.workflows.derived import inputs_of_derived
from brickctl.workflows.fit import Fit
from brickctl.workflows.inputs import pin_inputs
from brickctl.workflows.parallel import in_parallel
from brickctl.workflows.policy import check_policy

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from brickctl.core.lock import Locked
    from brickctl.errors import BrickctlError
    from brickctl.operations.target import Recipe
    from brickctl.resolve.proof import Proof
    from brickctl.workflows.session import Session


def resolve(
    session: Session,
    old: Lock | None = None,
    anew: Collection[Alias] = (),
    unfinished: Collection[Alias] = (),
    exactly: Mapping[Alias, str] = MappingProxyType({}),
) -> Lock:
    """The lock that the manifest means now; nothing is written.

    Entries of `old` stand while they are asked for in the same words, unless they are to be pinned `anew`, or something
    new contradicts them. Targets that are `unfinished` are not looked at. `exactly` says which version or revision some
    bricks shall have.

    Raises:
        ManifestInvalid, NotFound, Gated, Misfit, Conflict, Unsupported, PolicyViolation, TransportFault, OfflineMiss.
    """
    targets = session.manifest.targets
    recipes = [read_recipe(session.manifest, target) for name, target in targets.items() if name not in unfinished]
    inputs_of_recipes = (one for recipe in recipes for one in recipe.inputs)
    inputs = pin_inputs(session.root, (*inputs_of_recipes, *inputs_of_derived(session.manifest)))
    wishes = _Wishes(session, old, frozenset(anew), exactly, Fit(recipes))
    entries = wishes.entries()
    lock = Lock(
        base=entries[BASE],
        bricks={alias: entries[alias] for alias in sorted(session.manifest.bricks)},
        dependencies={name: entry for name, entry in entries.items() if name not in session.manifest.requirements},
        derived=_kept(session, old),
        inputs=inputs,
        manifest=echo(session.manifest),
    )
    news = wishes.news(entries)
    check_policy(session, lock, news)
    for recipe in recipes:
        _warn_of_missing_ground(session, lock, recipe, news)
    return lock


def _kept(session: Session, old: Lock | None) -> Mapping[Alias, Locked]:
    """What was derived and is still asked for, be it of what is locked now or of what was: deriving makes it anew."""
    made = {} if old is None else old.derived
    return {name: made[name] for name in sorted(session.manifest.derived) if name in made}


def _warn_of_missing_ground(session: Session, lock: Lock, recipe: Recipe, news: Collection[Alias]) -> None:
    """A target may use a brick without what that was made on; whether it is good for anything then, nobody can say."""
    for asker, dependency, found in edges(lock):
        used = asker.alias in recipe.aliases and asker.alias in news
        if used and found is not None and not dependency.is_base and found.alias not in recipe.aliases:
            more = (
                "" if found.alias in lock.bricks else f"; `brickctl add {found.pin.brick or found.pin.source}` names it"
            )
            session.events.warn(
                f"[targets.{recipe.name}] uses `{asker.alias}`, which was made on {dependency}, without that{more}."
            )


class _Wishes:
    """What is asked for, held against the lock that was: what stands is kept where that is possible, else preferred."""

    def __init__(
        self, session: Session, old: Lock | None, anew: frozenset[Alias], exactly: Mapping[Alias, str], fit: Fit
    ) -> None:
        self._exactly = exactly
        self._anew = anew
        self._session = session
        self._fit = fit
        self._standing = {} if old is None else standing(session.manifest, old)
        self._settled = {alias: entry for alias, entry in self._standing.items() if alias not in anew}
        entries = {} if old is None else old.entries
        self._pins = {alias: entry.pin for alias, entry in entries.items() if alias not in anew}

    def entries(self) -> Mapping[Alias, Locked]:
        """The entry of each brick.

        Where what is settled contradicts what is new, versions of registries are chosen again, the locked ones first;
        and where the base is another one, since only registries say what their bricks were made for.
        """
        loose = {alias: entry for alias, entry in self._settled.items() if entry.pin.version is None}
        if BASE in self._standing and len(loose) < len(self._settled):
            attempt = self._attempt(self._settled)
            try:
                found = attempt.entries()
            except Unsolvable:
                found = {}
            if BASE in found and found[BASE].pin.digest == self._standing[BASE].pin.digest:
                return found
        attempt = self._attempt(loose)
        try:
            return attempt.entries()
        except Unsolvable as unsolvable:
            raise attempt.conflict(unsolvable.proof) from None

    def news(self, entries: Mapping[Alias, Locked]) -> list[Alias]:
        """The entries that the lock that was did not have, or had otherwise."""
        before = self._standing
        return [
            alias for alias, entry in entries.items() if alias not in before or not same_entry(before[alias], entry)
        ]

    def _attempt(self, settled: Mapping[Alias, Locked]) -> _Attempt:
        before = Before(settled, self._standing, self._pins, self._exactly, self._anew)
        return _Attempt(self._session, ProjectCatalogue(self._session, before, self._fit))


class _Attempt:
    """One search, and what is told if it fails."""

    def __init__(self, session: Session, catalogue: ProjectCatalogue) -> None:
        self._aliases = list(session.manifest.requirements)
        self._wanted = [catalogue.wanted(alias) for alias in self._aliases]
        self._catalogue = catalogue

    def entries(self) -> Mapping[Alias, Locked]:
        """The entry of each brick.

        Raises:
            Unsolvable: there is no choice.
            Conflict: bricks need one another in a circle.
        """
        in_parallel(self._catalogue.look, self._aliases)
        solution = search(self._wanted, self._catalogue, BASE)
        refuse_circles(solution)
        return {Alias(name): self._catalogue.locked(candidate) for name, candidate in solution.chosen.items()}

    def conflict(self, proof: Proof) -> BrickctlError:
        """The error about it, to be raised by the caller."""
        return conflict(proof, self._wanted, self._catalogue, BASE)
