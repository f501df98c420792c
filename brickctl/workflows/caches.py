"""The caches that brickctl uses: where they lie, and how much is in them."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickctl.errors import LockInvalid, ManifestInvalid
from brickctl.workflows.session import CACHES, cache_folder, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.lock import Lock
    from brickctl.core.ports import Events

HUB, OWN, PROJECT = "hub", "brickctl", "project"
NAMES = (HUB, OWN, PROJECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """Folders, which need not exist: the Hub's cache, brickctl's own, and the project's in a project."""

    hub: Path
    own: Path
    project: Path | None = None

    @property
    def folders(self) -> dict[str, Path]:
        """Those that there are, by name."""
        found = {HUB: self.hub, OWN: self.own}
        return found if self.project is None else {**found, PROJECT: self.project}


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much a cache, or a part of it, holds; `bricks` are those of the project whose repository it is."""

    name: str
    bytes: int
    files: int
    bricks: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """For JSON."""
        own = {"name": self.name, "bytes": self.bytes, "files": self.files}
        return {**own, "bricks": list(self.bricks)} if self.bricks else own


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A cache, what is in all of it, and what is in each part, the largest first."""

    path: Path
    total: Amount
    parts: tuple[Amount, ...]


def caches_of(project: Path | None) -> Caches:
    """The caches that a command in this project uses; asks the Hub's client for its own."""
    from brickctl.sources.hub.cache import hub_cache

    mine = None if project is None else project / CACHES
    return Caches(hub=hub_cache().absolute(), own=cache_folder().absolute(), project=mine)


def lock_if_any(project: Path | None, events: Events) -> Lock | None:
    """The lock of a project; a project that cannot be read is warned of, since caches outlive it."""
    if project is None:
        return None
    try:
        return open_session(project, events, offline=True).read_lock()
    except (ManifestInvalid, LockInvalid) as error:
        where = "" if error.place is None else f" ({error.place})"
        events.warn(f"what this project says of its bricks is left out: {error.message}{where}")
        return None


def measure(caches: Caches, lock: Lock | None) -> Iterator[Measured]:
    """Count bytes and files; a file with several names counts once, a link not at all."""
    users = _users(lock)
    for name, folder in caches.folders.items():
        parts: defaultdict[str, list[int]] = defaultdict(list)
        seen: set[tuple[int, int]] = set()
        for path in walk(folder):
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                parts[_part(name, path.relative_to(folder))].append(status.st_size)
        amounts = [
            Amount(name=part, bytes=sum(sizes), files=len(sizes), bricks=users.get(part, ()) if name == HUB else ())
            for part, sizes in parts.items()
        ]
        amounts.sort(key=lambda amount: (-amount.bytes, amount.name))
        total = Amount(name=name, bytes=sum(map(_bytes, amounts)), files=sum(amount.files for amount in amounts))
        yield Measured(path=folder, total=total, parts=tuple(amounts))


def walk(folder: Path) -> Iterator[Path]:
    """Every real file below a folder, through no link."""
    for inside, _, names in os.walk(folder):
        yield from (path for name in names if not (path := Path(inside, name)).is_symlink())


def _bytes(amount: Amount) -> int:
    return amount.bytes


def _part(cache: str, path: Path) -> str:
    """What a file of a cache counts for: its repository, or the first folder it lies in."""
    from brickctl.sources.hub.cache import repository_name

    first = path.parts[0]
    return (repository_name(first) if cache == HUB else None) or first


def _users(lock: Lock | None) -> dict[str, tuple[str, ...]]:
    """Bricks of the project by the repository that holds them."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for alias, locked in ({} if lock is None else lock.entries).items():
        if locked.pin.source.startswith("hf:"):
            found[locked.pin.source.removeprefix("hf:")].append(alias)
    return {repository: tuple(aliases) for repository, aliases in found.items()}
