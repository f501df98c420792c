"""The bricks that may be suggested: those of the project, and those of its registries that fit its base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.listing import Listing
from brickctl.core.manifest import BUILTIN
from brickctl.core.reference import RegistryReference
from brickctl.errors import NotFound, TransportFault
from brickctl.workflows.search import Sought, search

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from brickctl.core.brick import Pin
    from brickctl.core.lock import Lock, Locked
    from brickctl.core.names import Alias
    from brickctl.core.ports import Events
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.workflows.session import Session

NO_SKILL = ("base", "gates", "neurons", "router", "statistics")
"""Kinds of bricks that say something of a model, or are one, and add no skill to it."""

CARD = "README.md"
_LONGEST_CARD = 100_000
"""Bytes of a model card that are read: what it is about stands at its beginning."""

_MOST = 200
"""Bricks of one registry that are looked at closer, the best by their words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A brick that may be suggested.

    Attributes:
        name: what the project calls it, or else its registry.
        alias: what the project calls it; None where it is not in the project.
        registry: where it is from, if from a registry.
        words: what it says of itself, as a listing that words are looked up in; `name` of it is unlike all others.
    """

    name: str
    kind: str
    alias: Alias | None = None
    registry: str | None = None
    brick: str | None = None
    version: str | None = None
    summary: str = ""
    words: Listing

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "in-project": self.alias is not None,
            "registry": self.registry,
            "brick": self.brick,
            "version": self.version,
            "kind": self.kind,
            "summary": self.summary,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where bricks are looked for: in a project, if there is one, and in its registries or the one that is named."""

    root: Path | None
    registry: str | None = None
    offline: bool = False


def of_project(session: Session, lock: Lock) -> tuple[Candidate, ...]:
    """The bricks of `[bricks]`, in the order of their names; each was held against the base when it was locked."""
    locked = (lock.bricks[alias] for alias in sorted(session.manifest.bricks))
    return tuple(_own(session, entry) for entry in locked if entry.kind not in NO_SKILL)


def of_registries(
    where: Where,
    words: tuple[str, ...],
    known: Iterable[Candidate],
    events: Events,
    *,
    registries: Sequence[str] = (BUILTIN,),
    everything: bool = False,
) -> tuple[Candidate, ...]:
    """The bricks of registries that fit the base and have one of the words, in the order of their names.

    With `everything`, those that have none of them too, as far as there is room. What is `known` is left out, and what
    adds no skill. Of bricks with one name that of the registry that is asked first is taken.

    Raises:
        UsageFault, NotFound, Gated, Unsupported, IntegrityFault, TransportFault: as `search`.
    """
    there = tuple((one.registry, one.brick) for one in known)
    asked = registries if where.registry is None else (where.registry,)
    found: dict[str, Candidate] = {}
    for name in asked if words else ():  # one after another: the first may have more than there is room for
        for candidate in _found(where, name, words, events):
            found.setdefault(candidate.name, candidate)
    for name in asked if everything else ():
        for candidate in _found(where, name, (), events):
            if len(found) < _MOST:
                found.setdefault(candidate.name, candidate)
    return tuple(found[name] for name in sorted(found) if (found[name].registry, name) not in there)


def _found(where: Where, registry: str, words: tuple[str, ...], events: Events) -> Iterator[Candidate]:
    sought = Sought(text=" ".join(words), any_word=True, fits=where.root is not None, registry=registry, limit=_MOST)
    for hit in search(where.root, sought, events, offline=where.offline).hits:
        listing = hit.listing
        if listing.kind not in NO_SKILL:
            yield Candidate(
                name=listing.name,
                kind=listing.kind,
                registry=hit.registry,
                brick=listing.name,
                version=listing.version,
                summary=listing.summary,
                words=listing,
            )


def _own(session: Session, entry: Locked) -> Candidate:
    """A brick of the project: with what its registry says of it, and its model card, where that is on this machine."""
    pin = entry.pin
    told = _told(session, pin)
    summary = "" if told is None else told.summary
    listing = Listing(
        name=" ".join((entry.alias, *(() if pin.brick is None else (pin.brick,)))),
        version=pin.version or "",
        kind=entry.kind,
        license=entry.license,
        summary=f"{summary}\n{_card(session, pin)}",
        tags=() if told is None else told.tags,
    )
    return Candidate(
        name=entry.alias,
        kind=entry.kind,
        alias=entry.alias,
        registry=pin.registry,
        brick=pin.brick,
        version=pin.version,
        summary=summary,
        words=listing,
    )


def _told(session: Session, pin: Pin) -> RegistryEntry | None:
    """What the registry of a brick says of this version, if it is from one; a warning where it cannot be asked now."""
    if pin.brick is None or pin.registry is None:
        return None
    try:
        entries = session.sources.versions(RegistryReference(name=pin.brick, registry=pin.registry))
    except (NotFound, TransportFault) as error:
        session.events.warn(f"`{pin.brick}` is judged by its name alone: {error.message}")
        return None
    return next((entry for entry in entries if entry.version == pin.version), None)


def _card(session: Session, pin: Pin) -> str:
    """The model card that lies beside the files of a brick; nothing where there is none, or no file is here."""
    places = session.sources.places(pin) or {}
    for folder in dict.fromkeys(path.parent for name, path in places.items() if "/" not in name):
        card = folder / CARD
        if card.is_file():
            with card.open("rb") as opened:
                return opened.read(_LONGEST_CARD).decode("utf-8", errors="replace")
    return ""
