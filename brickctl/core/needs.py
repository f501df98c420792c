"""Which entries of a lock fulfil what others need: chosen so once, but anyone may have edited the text since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.dependency import BrickDependency
from brickctl.core.versions import VersionRange, parse_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.brick import Pin
    from brickctl.core.dependency import Dependency
    from brickctl.core.lock import Lock, Locked
    from brickctl.core.names import Alias


def edges(lock: Lock) -> Iterator[tuple[Locked, Dependency, Locked | None]]:
    """Who needs what, and what fulfils it, in the order of the lock."""
    offered: dict[str, list[Locked]] = {}
    for entry in (*lock.bricks.values(), *lock.dependencies.values()):
        offered.setdefault(entry.pin.origin, []).append(entry)
    for entry in lock.entries.values():
        for dependency in entry.dependencies:
            registry = entry.pin.registry
            others = [lock.base] if dependency.is_base else offered.get(dependency.origin(registry), [])
            yield entry, dependency, next((one for one in others if _fulfils(one.pin, dependency, registry)), None)


def faults(lock: Lock) -> Iterator[str]:
    """Where a lock contradicts itself about needs, one sentence each."""
    needed: dict[Alias, None] = {}
    for entry, dependency, found in edges(lock):
        if found is None:
            yield f"`{entry.alias}` needs {dependency}, and nothing in the lock is that"
        else:
            needed[found.alias] = None
    for name, entry in lock.dependencies.items():
        if name not in needed:
            yield f"`{name}` is in the lock, and nothing needs it"
        elif name != dependency_name(entry.pin):
            yield f"`{name}` in the lock is {dependency_name(entry.pin)}"


def dependency_name(pin: Pin) -> str:
    """How a lock calls something that others need and brick.toml does not name."""
    if pin.commit is None or pin.brick is not None:
        return pin.origin
    return f"{pin.source}@{pin.commit}{pin.origin[len(pin.source) :]}"


def _fulfils(pin: Pin, dependency: Dependency, registry: str | None) -> bool:
    if pin.origin != dependency.origin(registry):
        return False
    if not isinstance(dependency, BrickDependency):
        return pin.commit == dependency.commit
    version = None if pin.version is None else parse_version(pin.version)
    return version is not None and VersionRange.parse(dependency.version).contains(version)
