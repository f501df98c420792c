"""Outdated: what `update` would take, and what there is beyond the ranges of brick.toml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.reference import RegistryReference
from brickctl.core.versions import parse_version
from brickctl.errors import Conflict, Misfit, NotFound, PolicyViolation
from brickctl.workflows.inventory import label
from brickctl.workflows.licenses import needed_lock
from brickctl.workflows.parallel import in_parallel
from brickctl.workflows.resolution import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.lock import Lock, Locked
    from brickctl.core.names import Alias
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Outdated:
    """A brick that is not at the newest: what is locked, what `update` would take, and the newest of all.

    Versions for bricks of registries, commits for those of the Hub, digests for folders, as `list` shows them. `update`
    is None where nothing would need the brick any more. `newest` may be out of range, may not fit, or may be too new.
    """

    name: Alias
    locked: str
    update: str | None
    newest: str
    origin: str


def outdated(session: Session) -> tuple[Outdated, ...]:
    """Every entry of the lock that is not at the newest, in the order of the lock; writes nothing.

    Raises:
        NotFound: there is no lock.
        TransportFault, OfflineMiss, IntegrityFault: as `update` would.
    """
    lock = needed_lock(session)
    then = _updated(session, lock)
    entries = list(lock.entries.values())
    newest = in_parallel(lambda entry: _newest(session, entry, then.get(entry.alias)), entries)
    rows = [_row(entry, then.get(entry.alias), best) for entry, best in zip(entries, newest, strict=True)]
    return tuple(row for row in rows if not row.locked == row.update == row.newest)


def _updated(session: Session, lock: Lock) -> Mapping[Alias, Locked]:
    """The entries after an `update`; those of now where there can be none, as when all that is in range was yanked."""
    try:
        return resolve(session, lock, [*lock.entries]).entries
    except (Conflict, Misfit, NotFound, PolicyViolation) as error:
        session.events.warn(f"`brickctl update` would fail: {error.message}.")
        return lock.entries


def _row(entry: Locked, then: Locked | None, newest: str) -> Outdated:
    return Outdated(
        name=entry.alias,
        locked=label(entry.pin),
        update=None if then is None else label(then.pin),
        newest=newest,
        origin=entry.pin.origin,
    )


def _newest(session: Session, entry: Locked, then: Locked | None) -> str:
    """The newest release that is not yanked; what a registry does not have, `update` knows."""
    pin = entry.pin
    if pin.brick is None or pin.registry is None:
        return label(pin if then is None else then.pin)
    entries = session.sources.versions(RegistryReference(name=pin.brick, registry=pin.registry))
    releases = [one.semver for one in entries if not one.yanked and not one.semver.pre]
    locked = parse_version(pin.version or "")
    return str(max([*releases, *([] if locked is None else [locked])], default=label(pin)))
