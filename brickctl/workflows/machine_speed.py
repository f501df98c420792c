"""How fast this machine is: measured in a moment, and believed for a day."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from brickctl.sources.atomic import write_atomically
from brickctl.tensors.costs import REFERENCE_STEP
from brickctl.workflows.disk_probe import probe
from brickctl.workflows.space import nearest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FILE = "speeds.json"
_DAY = 24 * 3600
_PIECE = 1 << 20
_BLOCK = 1 << 18
_ROUNDS = 16
_MOMENT = 0.1
_LEAST = 0.05
_LARGEST = 1_000_000
_SLOWEST, _FASTEST = 1e-3, 1e15
"""What no machine is beyond, in any of the figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Bytes a second that a disk reads and writes and a core hashes; how many times as fast as the table arithmetic is.

    The two of the disk are 0 where nothing can be written, so that nothing could be tried.
    """

    read: float
    write: float
    sha256: float
    arithmetic: float

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "read-bytes-per-second": round(self.read),
            "write-bytes-per-second": round(self.write),
            "sha256-bytes-per-second": round(self.sha256),
            "arithmetic": round(self.arithmetic, 2),
        }


def speed_of(folder: Path, cache: Path) -> Speed:
    """The speed of this machine and of the disk of a folder, which need not exist yet.

    Takes about 0.2 s, and 1 s on a slow disk, but once a day: what was measured stands in `cache`.
    """
    disk = str(nearest(folder).stat().st_dev)
    known = _known(cache)
    if disk not in known:
        known[disk] = {"time": time.time(), **asdict(_measured(folder))}
        with suppress(OSError):
            if known[disk]["write"]:  # a folder of the disk in which nothing may be written tells nothing of another
                write_atomically(cache / _FILE, json.dumps(known, sort_keys=True).encode())
    return Speed(**{name: known[disk][name] for name in Speed.__slots__})


def free_cores(wanted: int, sha256: float) -> float:
    """How many of the cores that are wanted other programs leave free now: what threads hash, all at once.

    `sha256` is what one core hashes in a second while it works alone. The answer is at most what was wanted.
    """
    hashed, before = [0] * wanted, time.perf_counter()

    def work(number: int) -> None:
        piece, state = bytes(_PIECE), hashlib.sha256()
        while time.perf_counter() < before + _MOMENT:
            state.update(piece)
            hashed[number] += _PIECE

    threads = [threading.Thread(target=work, args=(number,)) for number in range(wanted)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    speed = sum(hashed) / (time.perf_counter() - before)
    return min(float(wanted), max(_LEAST, speed / sha256))


def _known(cache: Path) -> dict[str, dict[str, float]]:
    """What was measured in the last day, by the number of the disk; nothing where the record is none of ours."""
    with suppress(OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        path = cache / _FILE
        if path.is_symlink() or path.stat().st_size > _LARGEST:
            return {}
        entries = json.loads(path.read_bytes())
        return {disk: found for disk, found in entries.items() if _is_sound(found)}
    return {}


def _is_sound(found: dict[str, float]) -> bool:
    speeds = [found[name] for name in Speed.__slots__]
    numbers = all(type(value) in {int, float} and _SLOWEST <= value <= _FASTEST for value in speeds)
    return numbers and type(found["time"]) is float and 0 <= time.time() - found["time"] < _DAY


def _measured(folder: Path) -> Speed:
    read = write = 0.0
    with suppress(OSError):
        disk = probe(folder)
        read, write = disk.read, disk.write
    piece, state = bytes(_PIECE), hashlib.sha256()
    return Speed(
        read=read,
        write=write,
        sha256=_PIECE / _seconds(lambda: state.update(piece)),
        arithmetic=REFERENCE_STEP / (_seconds(_arithmetic()) * 1e9 / _BLOCK),
    )


def _arithmetic() -> Callable[[], None]:
    """The step that the table of costs is relative to: without torch, which would take seconds to come."""
    import numpy as np

    stored, wide, sums = np.ones(_BLOCK, np.float32), np.empty(_BLOCK), np.zeros(_BLOCK)

    def step() -> None:
        np.multiply(stored, 0.5, out=wide)
        np.add(sums, wide, out=sums)

    return step


def _seconds(step: Callable[[], None]) -> float:
    """The shortest of several rounds: others may be at work."""
    found = []
    for _ in range(_ROUNDS):
        before = time.perf_counter()
        step()
        found.append(time.perf_counter() - before)
    return max(min(found), 1e-9)
