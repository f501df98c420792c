"""Install: bring every file of a lock to this machine, and verify each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from brickctl.core.brick import File, Pin
    from brickctl.core.digests import Sha256
    from brickctl.core.lock import Lock
    from brickctl.core.names import Alias
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What is on this machine now.

    Attributes:
        lock: what it follows.
        files: verified files by digest.
        fetched: bricks for which something had to be fetched.
        bytes: how many bytes that were.
    """

    lock: Lock
    files: Mapping[Sha256, Path]
    fetched: tuple[Alias, ...]
    bytes: int


def install(session: Session, mode: LockMode) -> Installed:
    """Bring everything that the lock names.

    Raises:
        IntegrityFault: a file is not what the lock says; it is never used.
        TransportFault, OfflineMiss, NotFound, Gated: it cannot be had.
    """
    lock = current_lock(session, mode)
    return bring(session, lock, tuple(lock.entries))


def bring(session: Session, lock: Lock, aliases: Iterable[Alias]) -> Installed:
    """Bring some bricks of a lock; what is here already is verified and costs nothing else."""
    aliases = tuple(aliases)
    pins = [lock.entries[alias].pin for alias in aliases]
    located = in_parallel(session.sources.locate, pins)
    missing = [(alias, pin) for alias, pin, paths in zip(aliases, pins, located, strict=True) if paths is None]
    wanted = [(pin, file) for _, pin in missing for file in sorted(pin.files, key=lambda file: -file.size)]
    fetched = in_parallel(lambda job: session.sources.fetch(job[0], job[1], session.events), wanted)
    files = {file.sha256: path for (_, file), path in zip(wanted, fetched, strict=True)}
    for pin, paths in zip(pins, located, strict=True):
        if paths is not None:
            files |= {_digest(pin, path): place for path, place in paths.items()}
    names = tuple(alias for alias, _ in missing)
    return Installed(lock=lock, files=files, fetched=names, bytes=sum(file.size for _, file in wanted))


def _digest(pin: Pin, path: str) -> Sha256:
    file: File | None = pin.file(path)
    if file is None:
        raise KeyError(path)
    return file.sha256
