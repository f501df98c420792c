"""Search: find bricks in the registries of a project by words, kind and base."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickctl.core.manifest import BUILTIN
from brickctl.core.names import BASE, did_you_mean
from brickctl.core.reference import HubReference, RegistryReference
from brickctl.core.reference_format import parse_reference
from brickctl.core.staleness import standing
from brickctl.errors import UsageFault
from brickctl.kinds.kind import kind_named
from brickctl.sources.listings import find
from brickctl.sources.open import open_sources
from brickctl.sources.search_index import Query
from brickctl.workflows.session import cache_folder, open_session

if TYPE_CHECKING:
    from brickctl.core.brick import Pin
    from brickctl.core.digests import Sha256
    from brickctl.core.listing import Listing
    from brickctl.core.ports import Events
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """What somebody looks for; everything that is given must hold.

    Attributes:
        text: words that begin words of the name, the tags or the summary.
        kind: the kind of the brick.
        base: the model that it was made for, as a reference.
        fits: made for the base of the project, or for one with its interface.
        registry: the one registry to search, instead of the project's default.
        limit: at most so many bricks.
        any_word: one of the words is enough; `sources.search_index.Query` says which brick is the best then.
    """

    text: str = ""
    kind: str | None = None
    base: str | None = None
    fits: bool = False
    registry: str | None = None
    limit: int = 20
    any_word: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A brick that was found, and where; of bricks with one name, that of the registry that is asked first."""

    registry: str
    listing: Listing

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"registry": self.registry, **self.listing.document()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best of what was found in `registries`, and whether there is `more` than was asked for."""

    hits: tuple[Hit, ...]
    registries: tuple[str, ...]
    more: bool


def search(root: Path | None, sought: Sought, events: Events, *, offline: bool = False) -> Found:
    """Search the default registries of the project in `root`, or one that it declares; `builtin` without a project.

    Raises:
        UsageFault: a registry that is not declared, a base that is no reference, or `fits` without a project.
        Unsupported: a kind that is none, or a registry without a snapshot that is not small.
        NotFound, Gated, IntegrityFault, TransportFault, OfflineMiss: a registry cannot be searched.
    """
    session = None if root is None else open_session(root, events, offline=offline)
    declared = {} if session is None else session.manifest.registries
    registries = _registries(session, sought.registry)
    query = _query(session, sought)
    cache = cache_folder()
    sources = open_sources(root or Path.cwd(), declared, offline=offline, cache=cache)
    hits: dict[str, Hit] = {}
    for name in registries:
        index = sources.index(name)
        listings = () if index is None else find(index, query, cache / "search", events.note)
        for listing in listings:
            hits.setdefault(listing.name, Hit(registry=name, listing=listing))
    best = tuple(hits.values())
    return Found(hits=best[: sought.limit], registries=registries, more=len(best) > sought.limit)


def _registries(session: Session | None, name: str | None) -> tuple[str, ...]:
    if name is None:
        return (BUILTIN,) if session is None else session.manifest.project.default_registries
    known = (BUILTIN, *(() if session is None else session.manifest.registries))
    if name not in known:
        hint = did_you_mean(name, known) or f"known here: {', '.join(known)}; others are declared in [registries]"
        raise UsageFault(f"there is no registry `{name}`", hint=hint)
    return (name,)


def _query(session: Session | None, sought: Sought) -> Query:
    kind = sought.kind if sought.kind in {None, BASE} else kind_named(sought.kind or "").name
    query = Query(text=sought.text, kind=kind, limit=sought.limit + 1, any_word=sought.any_word)
    if sought.base is not None and sought.fits:
        hint = "`--base` names a model, `--fits` means the base of this project"
        raise UsageFault("`--base` and `--fits` exclude one another", hint=hint)
    if sought.base is not None:
        return replace(query, base_source=_source_of(sought.base))
    if not sought.fits:
        return query
    if session is None:
        raise UsageFault(
            "`--fits` needs a project", hint="run it in a folder with brick.toml, or name a model: `--base`"
        )
    pin, interface = _base(session)
    return replace(query, base_source=_any_version(pin.source), base_interface=interface)


def _source_of(text: str) -> str:
    """A reference as registries write the base of a brick; of a registry's brick, whatever its version."""
    reference = parse_reference(text, registries=(BUILTIN,))
    if isinstance(reference, HubReference):
        return str(reference)
    if isinstance(reference, RegistryReference):
        return f"index:{reference.name}/"
    hint = "a base is `hf:owner/name` or `namespace/name`; for the base of this project there is `--fits`"
    raise UsageFault(f"no registry knows of `{text}`: it is a folder", hint=hint)


def _any_version(source: str) -> str:
    return f"{source.rpartition('/')[0]}/" if source.startswith("index:") else source


def _base(session: Session) -> tuple[Pin, Sha256]:
    """What the base of the project is: as it is locked, else as it would be."""
    lock = session.read_lock()
    locked = None if lock is None else standing(session.manifest, lock).get(BASE)
    if locked is not None:
        return locked.pin, locked.interface
    pin = session.sources.pin(session.manifest.base.reference)
    return pin, session.sources.inspect(pin).interface
