"""A vendored folder as one file, whose bytes follow from the lock alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from brickctl.core.digests import Sha256
from brickctl.errors import IntegrityFault, UsageFault
from brickctl.sources.atomic import set_mode, unfinished
from brickctl.sources.naming import place_label
from brickctl.sources.vendored import BLOBS, MARK, MARKER, VENDOR
from brickctl.workflows.install import bring
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.session import LOCK
from brickctl.workflows.vendor import files_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from brickctl.core.brick import File
    from brickctl.core.ports import Progress
    from brickctl.workflows.session import Session

ENDINGS = (".tar", ".tar.gz")
_MODE = 0o644
_PIECE = 1 << 20
_EFFORT = 1
"""Weights hardly become smaller, whatever the effort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A tarball: where it is, how many different files of bricks are in it, their size, and its digest."""

    path: Path
    files: int
    bytes: int
    sha256: Sha256


def pack(session: Session, mode: LockMode, path: Path) -> Packed:
    """Write `vendor/` of a project into a tarball that is to be unpacked in the project.

    Sorted, without times, owners and folders: a lock always gives the same `.tar`; the same `.tar.gz` where zlib is the
    same. Every file is verified on its way; the tarball appears whole or not at all.

    Raises:
        UsageFault: the name does not end in `.tar` or `.tar.gz`, or something is there that is no file.
        LockStale, IntegrityFault, TransportFault, OfflineMiss, NotFound, Gated, NoSpace: as `install`.
    """
    _check(path)
    lock = current_lock(session, mode)
    files = files_of(lock)
    size = sum(file.size for file in files.values())
    found = bring(session, lock, lock.entries, later={path.parent: size}).files
    with unfinished(path) as new:
        set_mode(new.file.fileno(), _MODE)
        with _archive(new.file, compressed=path.name.endswith(".gz")) as archive:
            _fill(archive, (session.root / LOCK).read_bytes(), files, found, session.events)
        new.file.flush()
        with new.path.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256")
        new.path.replace(path)
    return Packed(path=path, files=len(files), bytes=size, sha256=Sha256(digest.hexdigest()))


def _check(path: Path) -> None:
    if not path.name.endswith(ENDINGS):
        raise UsageFault(f"{path.name} is no name of a tarball", hint="let it end in .tar or .tar.gz")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        cause = "it is a link" if path.is_symlink() else "it is not a file"
        raise UsageFault(f"{path} will not be replaced", causes=(cause,), hint="name another file")


@contextmanager
def _archive(file: BinaryIO, *, compressed: bool) -> Iterator[tarfile.TarFile]:
    with ExitStack() as stack:
        target: BinaryIO | gzip.GzipFile = file
        if compressed:
            opened = gzip.GzipFile(filename="", mode="wb", compresslevel=_EFFORT, fileobj=file, mtime=0)
            target = stack.enter_context(opened)
        yield stack.enter_context(
            tarfile.TarFile(fileobj=target, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_PIECE)
        )


def _fill(
    archive: tarfile.TarFile, lock: bytes, files: Mapping[Sha256, File], found: Mapping[Sha256, Path], events: Progress
) -> None:
    for digest, file in files.items():
        with found[digest].open("rb") as source:
            reader = _Reader(source, events, f"packing {file.path} {digest[:12]}", file.size)
            archive.addfile(_entry(f"{BLOBS}/{digest}", file.size), reader)
            if reader.finish() != digest:
                cause = f"{place_label(found[digest])} is where it was read from"
                hint = "run the command again"
                raise IntegrityFault(f"{file.path} changed while it was packed", causes=(cause,), hint=hint)
    for name, content in ((LOCK, lock), (MARKER, MARK)):
        archive.addfile(_entry(name, len(content)), io.BytesIO(content))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(f"{VENDOR}/{name}")
    entry.size, entry.mode = size, _MODE
    return entry


class _Reader:
    """A file that is hashed while it is read; where it has become too short, zeros are read, and the digest tells."""

    def __init__(self, source: BinaryIO, events: Progress, label: str, size: int) -> None:
        self._source = source
        self._events = events
        self._label = label
        self._state = hashlib.sha256()
        events.start(label, size)

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        piece = self._source.read(count)
        self._state.update(piece)
        self._events.advance(self._label, len(piece))
        return piece.ljust(max(0, count), b"\0")

    def finish(self) -> str:
        """The digest of what was read."""
        self._events.finish(self._label)
        return self._state.hexdigest()
