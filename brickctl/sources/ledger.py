"""The ledger: which files have been hashed already, so that a second check reads no bytes.

A digest is remembered for a file *identity*: real path, size, mtime, ctime, inode and device. Programs can set mtime as
they like but not ctime, so a file that was changed or replaced has another identity, with one exception that git knows
as the racy entry: time stamps have steps, and a change within the step in which the file was last written leaves no
trace. So a file is hashed, for the record, only once its stamps are older than a step. Like any cache the ledger
guards against accidents and tampered files, not against someone who can write to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256, is_sha256, sha256_bytes
from brickctl.core.document import WHOLE, shown
from brickctl.errors import BrickctlError, IntegrityFault
from brickctl.sources.atomic import write_atomically
from brickctl.sources.naming import place_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.ports import Progress

_BUFFER = 1 << 20
_STEP = 50_000_000  # ns; time stamps of Linux and macOS move in steps of 10 ms or less
_COARSE_STEP = 2_000_000_000  # ns; FAT, where stamps are whole seconds
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a file system says of a file without reading it; equal identities mean equal bytes, once settled."""

    path: str
    size: int
    mtime: int
    ctime: int
    inode: int
    device: int

    @classmethod
    def of(cls, path: Path) -> Identity:
        """Ask the file system, links resolved."""
        real = os.path.realpath(path)
        stat = os.stat(real)  # noqa: PTH116 - of the same string that is recorded
        return cls(
            path=real,
            size=stat.st_size,
            mtime=stat.st_mtime_ns,
            ctime=stat.st_ctime_ns,
            inode=stat.st_ino,
            device=stat.st_dev,
        )

    def unsettled(self, now: int) -> int:
        """Nanoseconds until a change could no longer hide in the step of the last one; 0 once that is so."""
        whole_seconds = self.mtime % _SECOND == 0 and self.ctime % _SECOND == 0
        return max(0, self.ctime + (_COARSE_STEP if whole_seconds else _STEP) - now)


@dataclass(frozen=True, slots=True)
class Line:
    """What `place` remembers of the file `path`, if one is there; no `sha256` unless it still is that very file."""

    place: Path
    path: Path | None
    sha256: Sha256 | None


class Ledger:
    """Digests by file identity, one small JSON file each in `folder`; safe between threads and processes.

    A folder that is missing, read-only or full of nonsense costs time, never correctness. `progress`, where given,
    hears of every file that is hashed.
    """

    def __init__(self, folder: Path, progress: Progress | None = None) -> None:
        self._folder = folder
        self._progress = progress

    def digest(self, path: Path, progress: Progress | None = None) -> Sha256:
        """The digest of a file: from memory if its identity is known, else by reading it.

        Raises:
            IntegrityFault: it changed while it was read.
            BrickctlError: it cannot be read.
        """
        try:
            before = Identity.of(path)
            return self._recall(before) or self._read(path, before, progress or self._progress)
        except OSError as error:
            message, reason = f"{place_label(path)} cannot be read", error.strerror or str(error)
            hint = "check who owns it, and whether its disk is well: `brickctl doctor` tries the disks"
            raise BrickctlError(message, causes=(reason,), hint=hint) from error

    def known(self, path: Path) -> Sha256 | None:
        """The digest of a file if it can be told without reading the file."""
        try:
            return self._recall(Identity.of(path))
        except OSError:
            return None

    def record(self, path: Path, digest: Sha256) -> None:
        """Remember the digest of a file that the caller itself has just written and hashed on the way.

        The caller vouches that nobody else had the file open; waits for the time stamps to settle.
        """
        with suppress(OSError):
            identity = _settle(Identity.of(path))
            if not identity.unsettled(time.time_ns()):
                self._write(identity, digest)

    def forget(self, path: Path) -> None:
        """Make the next `digest` read the file."""
        with suppress(OSError):
            self._entry(os.path.realpath(path)).unlink()

    def lines(self) -> Iterator[Line]:
        """Everything that is remembered, also what fits no file any more."""
        with suppress(OSError):
            for place in sorted(self._folder.iterdir()):
                if place.suffix == ".json" and is_sha256(place.stem) and place.is_file():
                    yield self._line(place)

    def _line(self, place: Path) -> Line:
        try:
            path = json.loads(place.read_bytes())["path"]
            identity = Identity.of(Path(path))
            own = self._entry(path) == place
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return Line(place, None, None)
        return Line(place, Path(path), self._recall(identity) if own else None)

    def _read(self, path: Path, before: Identity, progress: Progress | None) -> Sha256:
        """Hash a file, and remember the digest if a later change could not go unseen."""
        before = _settle(before)
        settled = not before.unsettled(time.time_ns())  # asked before the read: a change during it must show
        digest = hash_file(Path(before.path), progress)
        if before != Identity.of(path):
            reason = "its size or time stamps moved during the read"
            message = f"{place_label(path)} changed while it was read"
            raise IntegrityFault(message, causes=(reason,), hint="run the command again")
        if settled:
            self._write(before, digest)
        return digest

    def _entry(self, real: str) -> Path:
        return self._folder / f"{sha256_bytes(os.fsencode(real))}.json"

    def _recall(self, identity: Identity) -> Sha256 | None:
        try:
            entry = json.loads(self._entry(identity.path).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(entry, dict):
            return None
        digest = entry.pop("sha256", None)
        fits = entry == asdict(identity) and isinstance(digest, str) and is_sha256(digest)
        return Sha256(digest) if fits else None

    def _write(self, identity: Identity, digest: Sha256) -> None:
        entry = json.dumps({**asdict(identity), "sha256": digest}, sort_keys=True)
        with suppress(OSError, UnicodeError):
            write_atomically(self._entry(identity.path), entry.encode())


def hash_file(path: Path, progress: Progress | None = None, label: str | None = None) -> Sha256:
    """Read a file from front to back and hash it; one buffer, whatever its size. `label` is how progress calls it."""
    label = label or f"checking {shown(path.name, longest=WHOLE)}"
    state = hashlib.sha256()
    buffer = memoryview(bytearray(_BUFFER))
    with path.open("rb", buffering=0) as file:
        if progress is not None:
            progress.start(label, os.fstat(file.fileno()).st_size)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := file.readinto(buffer):
            state.update(buffer[:count])
            if progress is not None:
                progress.advance(label, count)
    if progress is not None:
        progress.finish(label)
    return Sha256(state.hexdigest())


def _settle(identity: Identity) -> Identity:
    """Wait until the last change is a step old, then look again; a stamp from the future is not waited for."""
    wait = identity.unsettled(time.time_ns())
    if 0 < wait <= _STEP:
        time.sleep(wait / _SECOND)
        return Identity.of(Path(identity.path))
    return identity
