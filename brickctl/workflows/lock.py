"""Lock: find exactly which bytes the manifest means, check that they fit, and write that down."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from brickctl.core.brick import Brick
from brickctl.core.licenses import UNKNOWN
from brickctl.core.lock import Lock, Locked
from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.core.reference import PathReference
from brickctl.core.staleness import echo, stale_reasons
from brickctl.errors import LockStale, NotFound, PolicyViolation, UsageFault
from brickctl.kinds.base import whole_model
from brickctl.kinds.kind import detect_kind, kind_named
from brickctl.operations.target import read_recipe
from brickctl.workflows.assemble import locked_brick
from brickctl.workflows.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from brickctl.core.manifest import Requirement
    from brickctl.workflows.session import Session

BASE_KIND = "base"


class LockMode(Enum):
    """What a command may do about a lock that does not say what the manifest says."""

    REFRESH = "refresh"  # make it anew, as Cargo does
    LOCKED = "locked"  # fail
    FROZEN = "frozen"  # do not look


@dataclass(frozen=True, slots=True, kw_only=True)
class LockResult:
    """A lock that says what the manifest says, and what changed for it.

    `changes` maps aliases to what happened: `added`, `removed`, or `updated`.
    """

    lock: Lock
    written: bool
    changes: Mapping[Alias, str]


def current_lock(session: Session, mode: LockMode) -> Lock:
    """The lock that a command shall work with; refreshed on disk where the mode allows.

    Raises:
        LockStale: it is missing or says something else, and may not be changed.
    """
    old = session.read_lock()
    reasons = ("there is no brick.lock",) if old is None else stale_reasons(session.manifest, old)
    if old is not None and (mode is LockMode.FROZEN or not reasons):
        return old
    if mode is not LockMode.REFRESH:
        hint = "run `brickctl lock`, look at the difference, and commit it"
        raise LockStale("brick.lock does not say what brick.toml says", causes=reasons, hint=hint)
    return refresh(session).lock


def refresh(session: Session) -> LockResult:
    """Lock what is new or asked for differently; everything else keeps its pin.

    Folders of this machine are looked at again, since what they hold now is what they mean.
    """
    folders = [
        alias
        for alias, requirement in session.manifest.requirements.items()
        if isinstance(requirement.reference, PathReference)
    ]
    return _lock(session, anew=folders)


def update(session: Session, names: Collection[str]) -> LockResult:
    """Pin anew: the bricks named, or all where none is named.

    Raises:
        NotFound: a name that is no brick of the manifest.
    """
    requirements = session.manifest.requirements
    for name in names:
        if name not in requirements:
            hint = did_you_mean(name, requirements) or f"there are {', '.join(requirements)}"
            raise NotFound(f"`{name}` is no brick of this project", hint=hint)
    return _lock(session, anew=[Alias(name) for name in names] or list(requirements))


def _lock(session: Session, anew: Collection[Alias]) -> LockResult:
    old = session.read_lock()
    lock = resolve(session, old, anew)
    return LockResult(lock=lock, written=session.write_lock(lock), changes=_changes(old, lock))


def resolve(session: Session, old: Lock | None = None, anew: Collection[Alias] = ()) -> Lock:
    """The lock that the manifest means now; nothing is written.

    Entries of `old` stand while they are asked for in the same words, unless they are to be pinned `anew`.

    Raises:
        ManifestInvalid, NotFound, Gated, Misfit, Unsupported, PolicyViolation, TransportFault, OfflineMiss.
    """
    for target in session.manifest.targets.values():
        read_recipe(session.manifest, target)
    kept = _kept(session, old, anew)
    wanted = [requirement for alias, requirement in session.manifest.requirements.items() if alias not in kept]
    found = dict(zip((entry.alias for entry in wanted), in_parallel(_Finder(session, old, anew), wanted), strict=True))
    checked = _check(session, kept, found)
    bricks = {alias: checked[alias] for alias in session.manifest.bricks}
    return Lock(base=checked[BASE], bricks=bricks, manifest=echo(session.manifest))


def _kept(session: Session, old: Lock | None, anew: Collection[Alias]) -> dict[Alias, Locked]:
    """Entries of the old lock that stand: asked for in the same words, and not to be pinned anew."""
    if old is None:
        return {}
    now = _words(echo(session.manifest))
    before = _words(old.manifest)
    return {
        alias: locked
        for alias, locked in old.entries.items()
        if alias not in anew and alias in now and now[alias] == before.get(alias)
    }


def _words(manifest: Mapping[str, object]) -> dict[str, object]:
    """What an echo says of each alias; the address of a registry belongs to the bricks that come from it."""
    bricks, registries = manifest.get("bricks", {}), manifest.get("registries", {})
    entries = {BASE: manifest.get("base"), **(bricks if isinstance(bricks, dict) else {})}
    addresses = registries if isinstance(registries, dict) else {}
    return {
        alias: (entry, addresses.get(entry.get("registry")) if isinstance(entry, dict) else None)
        for alias, entry in entries.items()
    }


class _Finder:
    """Pins one requirement and reads its headers; called in several threads."""

    def __init__(self, session: Session, old: Lock | None, anew: Collection[Alias]) -> None:
        self._session = session
        self._old = {} if old is None else old.entries
        self._anew = anew

    def __call__(self, requirement: Requirement) -> Brick:
        alias = requirement.alias
        old = None if alias in self._anew or alias not in self._old else self._old[alias].pin
        pin = self._session.sources.pin(requirement.reference, old)
        contents = self._session.sources.inspect(pin)
        kind = BASE_KIND if alias == BASE else requirement.kind or detect_kind(alias, contents).name
        return Brick(
            name=alias,
            kind=kind,
            pin=pin,
            contents=contents,
            license=requirement.license or pin.license or UNKNOWN,
            required_by=requirement.place,
        )


def _check(session: Session, kept: Mapping[Alias, Locked], found: Mapping[Alias, Brick]) -> dict[Alias, Locked]:
    """Make sure that every new brick fits the base; all of them, where the base is new."""
    checked = {**kept, **{alias: _locked(brick) for alias, brick in found.items()}}
    bricks = dict(found)
    if BASE in found:
        bricks |= {alias: locked_brick(session, locked) for alias, locked in kept.items()}
    others = {alias: brick for alias, brick in bricks.items() if alias != BASE}
    if others:
        base = found[BASE] if BASE in found else locked_brick(session, kept[BASE])
        model = whole_model(base)
        for alias in session.manifest.bricks:
            if alias in others:
                kind_named(others[alias].kind).changes(others[alias], model)
                _check_declared_base(session, others[alias], base)
    return checked


def _locked(brick: Brick) -> Locked:
    is_base = brick.kind == BASE_KIND
    return Locked(
        alias=Alias(brick.name),
        kind=brick.kind,
        pin=brick.pin,
        interface=brick.contents.interface,
        license=brick.license or UNKNOWN,
        declared_base=None if is_base else kind_named(brick.kind).declared_base(brick.contents),
    )


def _check_declared_base(session: Session, brick: Brick, base: Brick) -> None:
    """A brick that names another base may fit all the same: a warning, or an error where the policy says so."""
    declared = kind_named(brick.kind).declared_base(brick.contents)
    if declared is None or not base.pin.source.startswith("hf:") or declared == base.pin.source.removeprefix("hf:"):
        return
    message = f"`{brick.name}` was trained on {declared}; the base is {base.pin.source.removeprefix('hf:')}"
    if session.manifest.policy.base == "declared":
        rule = '[policy] base = "declared" allows only bricks that name the base itself'
        raise PolicyViolation(message, causes=(rule,), place=session.manifest.policy.place)
    session.events.warn(f"{message}. Its tensors fit, so it is used; check that it still does what it should.")


def _changes(old: Lock | None, new: Lock) -> dict[Alias, str]:
    before = {} if old is None else old.entries
    changes = {alias: "added" for alias in new.entries if alias not in before}
    changes |= {alias: "removed" for alias in before if alias not in new.entries}
    changes |= {
        alias: "updated" for alias, locked in new.entries.items() if alias in before and before[alias].pin != locked.pin
    }
    return dict(sorted(changes.items()))


def mode_for(*, locked: bool, frozen: bool) -> LockMode:
    """The mode that two flags ask for.

    Raises:
        UsageFault: both at once.
    """
    if locked and frozen:
        raise UsageFault("--locked and --frozen exclude each other", hint="--locked compares, --frozen does not")
    return LockMode.LOCKED if locked else LockMode.FROZEN if frozen else LockMode.REFRESH
