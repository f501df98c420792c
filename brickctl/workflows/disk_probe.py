"""What a folder can do, tried with small scratch files that are gone afterwards."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.workflows.space import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 1 << 20
_FLUSH = 4
_MOST = 32
_SECONDS = 0.4
"""Seconds after which writing ends, and reading: both together take less than one, but for a last slow flush."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What was found of a folder; speeds are bytes a second, written and flushed, or read back."""

    free: int
    locks: bool
    links: bool
    hard_links: bool
    write: float
    read: float


def probe(folder: Path) -> Disk:
    """Try a folder, or the nearest above it that exists.

    Raises:
        OSError: nothing can be written there.
    """
    place = nearest(folder)
    with tempfile.TemporaryDirectory(dir=place, prefix=".new-doctor-", ignore_cleanup_errors=True) as scratch:
        file = Path(scratch) / "scratch"
        write, read = _speeds(file)
        return Disk(
            free=shutil.disk_usage(place).free,
            locks=_lockable(file),
            links=_possible(lambda: file.with_name("link").symlink_to(file.name)),
            hard_links=_possible(lambda: file.with_name("hard").hardlink_to(file)),
            write=write,
            read=read,
        )


def _speeds(file: Path) -> tuple[float, float]:
    """Write and flush random bytes, which no file system can make smaller, then read them past the cache."""
    piece = os.urandom(_PIECE)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write = _measured(lambda number: _write(descriptor, piece, flush=number % _FLUSH == _FLUSH - 1))
        if hasattr(os, "posix_fadvise"):  # pragma: no branch - absent on macOS
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return write, _measured(lambda _: len(os.read(descriptor, _PIECE)))
    finally:
        os.close(descriptor)


def _write(descriptor: int, piece: bytes, *, flush: bool) -> int:
    count = os.write(descriptor, piece)
    if flush:
        os.fsync(descriptor)
    return count


def _measured(step: Callable[[int], int]) -> float:
    """Bytes a second of so many steps as fit into the time, whole rounds of flushing only."""
    before, total = time.perf_counter(), 0
    for number in range(_MOST):
        count = step(number)
        total += count
        if not count or (time.perf_counter() - before > _SECONDS and number % _FLUSH == _FLUSH - 1):
            break
    return total / max(time.perf_counter() - before, 1e-9)


def _lockable(file: Path) -> bool:
    """Whether a lock that one holds keeps another out."""
    with file.open("rb") as one, file.open("rb") as other:
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def _possible(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True
