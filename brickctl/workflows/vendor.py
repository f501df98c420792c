"""Vendor: copy every file that a lock names into one folder, by digest, so that no network is needed any more."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.errors import IntegrityFault, UsageFault
from brickctl.sources.atomic import PREFIX, set_mode, unfinished, write_atomically
from brickctl.sources.ledger import hash_file
from brickctl.sources.naming import place_label
from brickctl.sources.quarantine import quarantine
from brickctl.sources.vendored import BLOBS, MARK, MARKER, VendoredFolder
from brickctl.tensors.copying import copy_range
from brickctl.workflows.files import alone, refuse_link
from brickctl.workflows.install import bring
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.parallel import cores_of_process, in_parallel
from brickctl.workflows.session import LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from brickctl.core.brick import File
    from brickctl.core.digests import Sha256
    from brickctl.core.lock import Lock
    from brickctl.workflows.session import Session

_MODE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendored:
    """A folder that holds every file of a lock, and nothing that the lock does not name.

    Attributes:
        folder: where it is.
        files: how many different files the lock names.
        bytes: their size.
        written: how many of them were not there before.
        written_bytes: their size.
        removed: files that the lock does not name any more, or that were not what they should be.
    """

    folder: Path
    files: int
    bytes: int
    written: int
    written_bytes: int
    removed: tuple[Path, ...]


def vendor(session: Session, mode: LockMode, folder: Path) -> Vendored:
    """Copy what is missing in `folder`, which is fetched first if need be, and remove what is left over.

    A file that is there and sound is not touched. One that somebody has changed is replaced.

    Raises:
        UsageFault: the folder holds something else than what an earlier `vendor` wrote, or is a link.
        LockStale, IntegrityFault, TransportFault, OfflineMiss, NotFound, Gated: as `install`.
        NoSpace: a disk is too small.
    """
    check_folder(folder)
    lock = current_lock(session, mode)
    files = files_of(lock)
    with _opened(session, folder) as vendored:
        _set_damaged_aside(session, vendored, files)
        missing = [file for digest, file in files.items() if not vendored.blob(digest).exists()]
        _copy(session, lock, vendored, missing)
        _write_if_changed(folder / LOCK, (session.root / LOCK).read_bytes())
        removed = [place for place, digest in vendored.blobs() if digest not in files]
        for place in removed:
            place.unlink()
    return Vendored(
        folder=folder,
        files=len(files),
        bytes=sum(file.size for file in files.values()),
        written=len(missing),
        written_bytes=sum(file.size for file in missing),
        removed=tuple(removed),
    )


def files_of(lock: Lock) -> dict[Sha256, File]:
    """Every file of every brick by its digest, sorted; what several bricks have in common stands here once."""
    found = {file.sha256: file for entry in lock.entries.values() for file in entry.pin.files}
    return {digest: found[digest] for digest in sorted(found)}


def check_folder(folder: Path) -> None:
    """Make sure that a folder is ours to write: absent, empty, or made by an earlier `vendor`.

    Raises:
        UsageFault: it is not.
    """
    refuse_link(folder, folder / BLOBS)
    names = [path.name for path in folder.iterdir() if not path.name.startswith(PREFIX)] if folder.exists() else []
    if not names or MARKER in names:
        return
    cause = f"it holds files and no {MARKER}, so `brickctl vendor` did not make it"
    hint = "name another folder, as in `brickctl vendor bricks.vendored`, or move that one away; nothing was changed"
    raise UsageFault(f"{folder} will not be used", causes=(cause,), hint=hint)


@contextmanager
def _opened(session: Session, folder: Path) -> Iterator[VendoredFolder]:
    """Hold the folder alone. The marker comes first: what a killed `vendor` leaves is known as ours."""
    with alone(folder.with_name(f".{folder.name}.lock"), f"vendoring into {folder}", session.events.note):
        vendored = VendoredFolder(folder, session.ledger)
        if not vendored.is_ours():
            write_atomically(folder / MARKER, MARK)
        yield vendored


def _set_damaged_aside(session: Session, vendored: VendoredFolder, files: Mapping[Sha256, File]) -> None:
    """Rename what is not what it should be, so that the right file can take its place."""

    def check(file: File) -> None:
        try:
            vendored.verified(file, file.path)
        except IntegrityFault as fault:
            place = vendored.blob(file.sha256)
            session.events.warn(f"{place_label(place)} is made anew: {fault.causes[-1]}")
            _make_room(place, vendored)

    in_parallel(check, [file for digest, file in files.items() if os.path.lexists(vendored.blob(digest))])


def _make_room(place: Path, vendored: VendoredFolder) -> None:
    """Rename a file, or remove a link, whose content is elsewhere; what else there may be is the user's to move."""
    if place.is_symlink():
        place.unlink()
    elif not place.is_file() or quarantine(place, vendored.root) is None:
        raise UsageFault(f"{place} is in the way", causes=("brickctl cannot rename it",), hint="move it away")


def _copy(session: Session, lock: Lock, vendored: VendoredFolder, missing: list[File]) -> None:
    """Bring the bricks that have one of the files, and copy those."""
    wanted = {file.sha256 for file in missing}
    lacking = (alias for alias, entry in lock.entries.items() if any(one.sha256 in wanted for one in entry.pin.files))
    room = {vendored.root: sum(file.size for file in missing)}
    found = bring(session, lock, lacking, later=room).files
    missing.sort(key=lambda file: -file.size)

    def copy(file: File) -> None:
        copy_verified(session, found[file.sha256], vendored.blob(file.sha256), file)

    in_parallel(copy, missing, threads=cores_of_process())


def copy_verified(session: Session, source: Path, goal: Path, file: File) -> None:
    """Copy a file by the kernel, where the disk can without moving a byte; what came of it is read again.

    Raises:
        IntegrityFault: somebody changed the source meanwhile.
    """
    with unfinished(goal) as new:
        with source.open("rb") as opened:
            try:
                copy_range(opened.fileno(), 0, new.file.fileno(), 0, file.size)
            except EOFError:
                raise _changed(file, source) from None
        set_mode(new.file.fileno(), _MODE)
        label = f"checking {file.path} {file.sha256[:12]}"
        if hash_file(new.path, session.events, label) != file.sha256:
            raise _changed(file, source)
        new.path.replace(goal)
    session.ledger.record(goal, file.sha256)


def _changed(file: File, source: Path) -> IntegrityFault:
    cause = f"{place_label(source)} is where it was read from"
    return IntegrityFault(f"{file.path} changed while it was copied", causes=(cause,), hint="run the command again")


def _write_if_changed(path: Path, content: bytes) -> None:
    if path.is_symlink() or not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
