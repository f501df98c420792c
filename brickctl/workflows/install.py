"""Install: bring every file of a lock to this machine, and verify each."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.ports import BYTES
from brickctl.sources.derived import not_here
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.parallel import in_parallel
from brickctl.workflows.space import check_space

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from brickctl.core.brick import File, Pin
    from brickctl.core.digests import Sha256
    from brickctl.core.lock import Lock
    from brickctl.core.names import Alias
    from brickctl.core.ports import Progress
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What is on this machine now.

    Attributes:
        lock: what it follows.
        files: verified files by digest.
        size: bytes of all files of the bricks that were asked for.
        fetched: bricks of which something was fetched, in the order of the lock.
        bytes: how many bytes that were.
    """

    lock: Lock
    files: Mapping[Sha256, Path]
    size: int
    fetched: tuple[Alias, ...]
    bytes: int


def install(session: Session, mode: LockMode) -> Installed:
    """Bring everything that the lock names.

    Raises:
        LockStale: the lock may not be refreshed, and says something else than the manifest.
        IntegrityFault: a file is not what the lock says; it is never used.
        TransportFault, OfflineMiss, NotFound, Gated: it cannot be had.
    """
    lock = current_lock(session, mode)
    return bring(session, lock, tuple(lock.entries))


def bring(
    session: Session, lock: Lock, aliases: Iterable[Alias], *, later: Mapping[Path, int] | None = None
) -> Installed:
    """Bring some bricks of a lock; what is here already is verified and costs nothing else.

    `later` is what the caller will write itself, in bytes by folder: nothing is fetched unless there is room for both.

    Raises:
        NotFound: derived bricks, which cannot be fetched, are not here; all of them are named.
    """
    aliases = tuple(aliases)
    pins = {alias: lock.entries[alias].pin for alias in aliases}
    located = dict(zip(aliases, in_parallel(session.sources.locate, pins.values()), strict=True))
    absent = [pin for alias, pin in pins.items() if located[alias] is None and pin.is_derived]
    if absent:
        raise not_here(*absent)
    jobs = [
        _Fetch(alias, pins[alias], file) for alias in aliases if located[alias] is None for file in pins[alias].files
    ]
    check_space(_needed(session, jobs, later or {}))
    jobs.sort(key=lambda job: -job.file.size)  # the longest first, so that nothing is left to wait for at the end
    moved = _Moved(session.events)
    places = in_parallel(lambda job: session.sources.fetch(job.pin, job.file, moved.of(job.alias)), jobs)
    files = {job.file.sha256: place for job, place in zip(jobs, places, strict=True)}
    for alias, paths in located.items():
        files |= {file.sha256: paths[file.path] for file in pins[alias].files if paths is not None}
    return Installed(
        lock=lock,
        files=files,
        size=sum(file.size for pin in pins.values() for file in pin.files),
        fetched=tuple(alias for alias in aliases if alias in moved.amounts),
        bytes=sum(moved.amounts.values()),
    )


def _needed(session: Session, jobs: Iterable[_Fetch], later: Mapping[Path, int]) -> dict[Path, int]:
    """Bytes that will be fetched and written, by the folder that they go into."""
    needed = dict(later)
    for job in jobs:
        folder = session.sources.storage(job.pin)
        if folder is not None:
            needed[folder] = needed.get(folder, 0) + job.file.size
    return needed


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One file that is to be brought."""

    alias: Alias
    pin: Pin
    file: File


class _Moved:
    """Counts what sources really move: they start no progress for what is here already."""

    def __init__(self, events: Progress) -> None:
        self.amounts: dict[Alias, int] = {}
        self._events = events
        self._guard = threading.Lock()

    def of(self, alias: Alias) -> Progress:
        """A progress on behalf of one brick."""
        return _Witness(self, self._events, alias)

    def add(self, alias: Alias, amount: int) -> None:
        """Some bytes of a brick travel; may be called from any thread."""
        with self._guard:
            self.amounts[alias] = self.amounts.get(alias, 0) + amount


@dataclass(frozen=True, slots=True)
class _Witness:
    """Passes progress on."""

    moved: _Moved
    events: Progress
    alias: Alias

    def start(self, label: str, total: int, unit: str = BYTES) -> None:
        """Count the bytes that are about to travel, and show them."""
        self.moved.add(self.alias, total)
        self.events.start(label, total, unit)

    def advance(self, label: str, amount: int) -> None:
        """Show it."""
        self.events.advance(label, amount)

    def finish(self, label: str) -> None:
        """Show it."""
        self.events.finish(label)
