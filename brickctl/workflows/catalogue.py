"""What a project may choose from: what its lock holds, what registries list, and what the Hub and folders have now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias
from brickctl.core.policy import parse_moment
from brickctl.core.reference import RegistryReference
from brickctl.core.versions import VersionRange, parse_version
from brickctl.errors import IntegrityFault, Misfit, NotFound, PolicyViolation, Unsupported, asked_for
from brickctl.kinds.base import whole_model
from brickctl.resolve.problem import Offers, Refusal, Wanted, Withheld
from brickctl.sources.registry import kept
from brickctl.workflows.assemble import locked_brick
from brickctl.workflows.opening import lock_entry, open_brick
from brickctl.workflows.policy import YANKED, check_age, none_in_range, too_new
from brickctl.workflows.precise import at_revision, only
from brickctl.workflows.surroundings import check_dtype, check_vocabulary, vocabulary_of
from brickctl.workflows.wishes import (
    candidate_of,
    label_of,
    need_of_brick,
    need_of_project,
    origin_of,
    reference_of,
)

if TYPE_CHECKING:
    from brickctl.core.brick import Brick, Pin
    from brickctl.core.dependency import Dependency
    from brickctl.core.lock import Locked
    from brickctl.core.made_for import MadeFor, Vocabulary
    from brickctl.core.model import LazyModel
    from brickctl.core.reference import Reference
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.errors import Place
    from brickctl.resolve.problem import Candidate, Need
    from brickctl.workflows.before import Before
    from brickctl.workflows.fit import Fit
    from brickctl.workflows.session import Session


_MOST_UNNAMED = 1000
"""Bricks that brick.toml does not name, and that others need."""


class ProjectCatalogue:
    """A `Catalogue` of one project.

    Of bricks that are settled, nothing but what is locked is offered. Others are looked for, and what was locked is
    preferred. Everything is read once. Safe between threads as long as each has names of its own.
    """

    def __init__(self, session: Session, before: Before, fit: Fit) -> None:
        self._session = session
        self._before = before
        self._settled = before.settled
        self._fit = fit
        self._requirements = session.manifest.requirements
        self._unnamed: dict[str, tuple[Reference, str]] = {}
        self._offers: dict[str, Offers] = {}
        self._pins: dict[Candidate, Pin] = {}
        self._dependencies: dict[Candidate, tuple[Dependency, ...]] = {}
        self._bricks: dict[Candidate, Brick] = {}
        self._models: dict[Candidate, LazyModel] = {}
        self._made_for: dict[Candidate, MadeFor | None] = {}
        self._vocabularies: dict[Candidate, Vocabulary | None] = {}
        self._refusals: dict[tuple[Candidate, Candidate], Refusal | None] = {}

    def wanted(self, alias: Alias) -> Wanted:
        """What brick.toml asks for under a name."""
        requirement = self._requirements[alias]
        return Wanted(need=need_of_project(alias, requirement.reference), place=requirement.place)

    def look(self, alias: Alias) -> None:
        """Find out what is offered under a name of brick.toml, and read the headers of what will probably be chosen.

        Raises:
            NotFound: there is nothing of what is asked for.
            Gated, TransportFault, OfflineMiss, IntegrityFault: as the source says.
        """
        reference = self._requirements[alias].reference
        with asked_for(self._place(alias)):
            admitted = list(filter(self.wanted(alias).need.admits, self.offers(alias).candidates))
            if not admitted and isinstance(reference, RegistryReference):
                raise none_in_range(self._session, alias, self._placed(alias, reference), self.offers(alias))
            if alias not in self._settled:
                self._try(admitted[0])

    def offers(self, brick: str) -> Offers:
        """As `Catalogue.offers`."""
        if brick not in self._offers:
            self._offers[brick] = self._find(Alias(brick))
        return self._offers[brick]

    def refusal(self, candidate: Candidate, base: Candidate) -> Refusal | None:
        """As `Catalogue.refusal`; what was locked together is not looked at again."""
        pair = (candidate, base)
        if pair not in self._refusals:
            stood = self.stood(candidate) and self.stood(base)
            self._refusals[pair] = None if stood else self._refuse(candidate, base)
        return self._refusals[pair]

    def stood(self, candidate: Candidate) -> bool:
        """Whether the lock that was has these very bytes under this name, asked for in the same words."""
        old = self._before.standing.get(Alias(candidate.brick))
        return old is not None and old.pin.digest == self._pins[candidate].digest

    def locked(self, candidate: Candidate) -> Locked:
        """The entry that a lock gets for a chosen candidate."""
        settled = self._settled.get(Alias(candidate.brick))
        return lock_entry(self._brick(candidate), self._dependencies[candidate]) if settled is None else settled

    def _brick(self, candidate: Candidate) -> Brick:
        if candidate not in self._bricks:
            alias = Alias(candidate.brick)
            if alias in self._settled:
                self._bricks[candidate] = locked_brick(self._session, self._settled[alias])
            else:
                asked = self._requirements.get(alias)
                self._bricks[candidate] = open_brick(self._session, alias, asked, self._pins[candidate])
        return self._bricks[candidate]

    def _refuse(self, candidate: Candidate, base: Candidate) -> Refusal | None:
        alias = Alias(candidate.brick)
        try:
            with asked_for(self._place(alias)):
                if base not in self._models:
                    self._models[base] = whole_model(self._brick(base))
                self._fit.check(alias, self._brick(candidate), self._models[base])
                self._check_surroundings(candidate, base)
        except (Misfit, Unsupported) as error:
            return Refusal(error=error)
        return None

    def _check_surroundings(self, candidate: Candidate, base: Candidate) -> None:
        """Hold what a registry says that a brick was made for against the base."""
        made_for = self._made_for.get(candidate)
        pin = self._pins[base]
        is_pinned = pin.commit is not None or pin.brick is not None
        if made_for is None or (is_pinned and (made_for.source, made_for.commit) == (pin.source, pin.commit)):
            return
        check_dtype(candidate.brick, made_for, self._brick(base))
        if made_for.vocabulary is not None and not self._session.manifest.policy.for_brick(candidate.brick).any_tokens:
            if base not in self._vocabularies:
                sources, events = self._session.sources, self._session.events
                self._vocabularies[base] = vocabulary_of(self._brick(base), sources, events)
            check_vocabulary(candidate.brick, made_for, self._vocabularies[base])

    def _try(self, candidate: Candidate) -> None:
        """Read headers early; what does not fit is refused later, unless it is the base itself that is no model."""
        try:
            brick = self._brick(candidate)
        except (Misfit, Unsupported):
            return
        if candidate.brick == BASE:
            self._models[candidate] = whole_model(brick)

    def _find(self, name: Alias) -> Offers:
        if name in self._settled:
            entry = self._settled[name]
            return Offers(source="brick.lock", candidates=(self._candidate(name, entry.pin, entry.dependencies),))
        if name in self._requirements:
            return self._look_up(name, self._requirements[name].reference)
        reference, _ = self._unnamed[name]
        try:
            return self._look_up(name, reference)
        except (NotFound, PolicyViolation) as error:  # another version of what needs it may do without
            return Offers(source=error.message, candidates=(), is_absent=True)

    def _look_up(self, name: Alias, reference: Reference) -> Offers:
        if isinstance(reference, RegistryReference):
            reference = self._placed(name, reference)
        old = self._before.preferred(name, origin_of(reference))
        exactly = self._before.exactly.get(name)
        if isinstance(reference, RegistryReference):
            listed = self._listed(name, reference, old)
            return listed if exactly is None else only(listed, reference, exactly)
        if exactly is not None:
            reference = at_revision(reference, exactly)
        pin = self._session.sources.pin(reference, old)
        if pin.commit is not None and (old is None or old.commit != pin.commit):
            check_age(self._session, name, pin)
        return Offers(source=str(reference), candidates=(self._candidate(name, pin),))

    def _placed(self, name: Alias, reference: RegistryReference) -> RegistryReference:
        """The reference with the one registry of its list that has the brick, or that it was locked from."""
        origins = (origin_of(replace(reference, registry=registry)) for registry in reference.registries)
        pins = (self._before.preferred(name, origin) for origin in origins)
        return self._session.sources.placed(reference, next(filter(None, pins), None))

    def _listed(self, name: Alias, reference: RegistryReference, old: Pin | None) -> Offers:
        """What a registry has: the version that was locked first, the others from the newest down."""
        entries = self._session.sources.versions(reference)
        stays = kept(old, reference, entries)
        ordered = sorted(entries, key=lambda entry: (entry is stays, entry.semver), reverse=True)
        barred = {one.version: why for one in ordered if one is not stays and (why := self._barred(name, one))}
        return Offers(
            source=f"registry `{reference.registry}`",
            candidates=tuple(
                self._entry(name, entry, reference.registry) for entry in ordered if entry.version not in barred
            ),
            withheld=tuple(
                Withheld(label=f"{entry.name} {entry.version}", version=entry.semver, reason=barred[entry.version])
                for entry in ordered
                if entry.version in barred
            ),
        )

    def _barred(self, name: Alias, entry: RegistryEntry) -> str | None:
        """Why a version may not be chosen anew."""
        if entry.yanked:
            return YANKED
        return too_new(self._session, name, None if entry.published is None else parse_moment(entry.published))

    def _entry(self, name: Alias, entry: RegistryEntry, registry: str) -> Candidate:
        candidate = self._candidate(name, entry.pin(registry), entry.dependencies)
        self._made_for[candidate] = entry.base
        return candidate

    def _candidate(self, name: Alias, pin: Pin, dependencies: tuple[Dependency, ...] = ()) -> Candidate:
        needs = tuple(self._need(dependency, pin) for dependency in dependencies)
        candidate = candidate_of(name, pin, needs)
        self._pins[candidate] = pin
        self._dependencies[candidate] = dependencies
        return candidate

    def _need(self, dependency: Dependency, asker: Pin) -> Need:
        """A dependency as a need: of what brick.toml names, where it names it, else of something without a name."""
        registry = asker.registry
        needs = [need_of_brick(name, dependency, registry) for name in self._names(dependency, registry)]
        if not needs:
            name = dependency.name(registry)
            self._name(name, reference_of(dependency, registry), label_of(asker))
            return need_of_brick(name, dependency, registry)
        admitted = needs if len(needs) == 1 else [need for need in needs if self._has(need)]
        return (admitted or needs)[0]

    def _name(self, name: str, reference: Reference, asker: str) -> None:
        """Make something known that a brick needs; of several that need it the first one in order is told of.

        Raises:
            IntegrityFault: a registry lets bricks need ever more bricks.
        """
        known = self._unnamed.get(name)
        if known is None or asker < known[1]:
            self._unnamed[name] = (reference, asker)
        if len(self._unnamed) > _MOST_UNNAMED:
            causes = (f"{asker} needs {name}, and {_MOST_UNNAMED:,} others are needed already",)
            hint = "ask whoever runs the registry why"
            raise IntegrityFault("bricks need ever more bricks", causes=causes, hint=hint)

    def _names(self, dependency: Dependency, registry: str | None) -> list[Alias]:
        """How brick.toml calls what would fulfil a dependency; several names are several versions."""
        if dependency.is_base:
            return [BASE]
        origin, others = dependency.origin(registry), self._session.manifest.bricks
        return [alias for alias in sorted(others) if self._origin(alias, others[alias].reference) == origin]

    def _origin(self, alias: Alias, reference: Reference) -> str:
        """Where a name of brick.toml leads to; of several registries the one that has the brick."""
        if isinstance(reference, RegistryReference) and len(reference.registries) > 1:
            settled = self._settled.get(alias)
            return origin_of(self._placed(alias, reference)) if settled is None else settled.pin.origin
        return origin_of(reference)

    def _has(self, need: Need) -> bool:
        """Whether a need may be fulfilled by what brick.toml asks for under that name."""
        alias = Alias(need.brick)
        asked, reference = self.wanted(alias).need, self._requirements[alias].reference
        if not isinstance(reference, RegistryReference):
            return any(map(need.admits, self.offers(alias).candidates))
        # Versions only: a candidate has needs of its own, perhaps of what is asked about here.
        if alias in self._settled:
            versions = [self._settled[alias].pin.version]
        else:
            versions = [one.version for one in self._session.sources.versions(self._placed(alias, reference))]
        ranges = (need.versions or VersionRange(), asked.versions or VersionRange())
        parsed = [version for text in versions if text and (version := parse_version(text)) is not None]
        return any(all(one.contains(version) for one in ranges) for version in parsed)

    def _place(self, alias: Alias) -> Place | None:
        requirement = self._requirements.get(alias)
        return None if requirement is None else requirement.place
