"""Files that appear whole or not at all; what a killed process left half-written is removed by the next one.

A file is written under a name of its own, and locked meanwhile: so the leftovers of killed processes, which hold no
lock any more, can be told from what others are writing at this moment.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from brickctl.tensors.refusals import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
"""What systems say where a disk has no locks at all."""

_NO_MODES = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

PREFIX = ".brickctl-new-"
_MODE = 0o644

_tidied: dict[str, None] = {}
_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A file that is being written, and where; whoever wants to keep it gives it another name."""

    file: BinaryIO
    path: Path


@dataclass(frozen=True, slots=True)
class Draft:
    """What shall stand in a file."""

    path: Path
    content: bytes
    mode: int = _MODE


@contextmanager
def unfinished(goal: Path) -> Iterator[Unfinished]:
    """A new file beside `goal`, whose place it may take; its folder is made if need be.

    It is removed in the end unless it was renamed. What the system refuses is told of `goal`, not of a passing name.
    """
    goal.parent.mkdir(parents=True, exist_ok=True)
    _tidy_once(goal.parent)
    with named(goal):
        descriptor, path = _locked_file(goal.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield Unfinished(file, path)
        finally:
            path.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, *, mode: int = _MODE, flush: bool = False) -> None:
    """Write a small file so that readers see the old content or the new; makes its folder.

    With `flush` the content is on the disk before it takes the old one's place.
    """
    with _ready(Draft(path, content, mode), flush=flush) as new:
        new.path.replace(path)


def write_together(drafts: Iterable[Draft], *, flush: bool = False) -> None:
    """Write small files, all or none: each has found its room on the disk before the first one takes its place."""
    begun: list[tuple[Draft, Path, bytes | None]] = []
    with ExitStack() as stack:
        waiting = [(draft, stack.enter_context(_ready(draft, flush=flush))) for draft in drafts]
        try:
            for draft, new in waiting:
                before = draft.path.read_bytes() if draft.path.is_file() else None
                begun.append((draft, new.path, before))
                new.path.replace(draft.path)
        except BaseException:
            for draft, passing, before in reversed(begun):
                if not passing.exists():  # Ctrl-C may come when the last one has just taken its place
                    _put_back(draft, before)
            raise


@contextmanager
def _ready(draft: Draft, *, flush: bool) -> Iterator[Unfinished]:
    """A file that needs nothing but its name."""
    with unfinished(draft.path) as new:
        new.file.write(draft.content)
        new.file.flush()
        set_mode(new.file.fileno(), draft.mode)
        if flush:
            os.fsync(new.file.fileno())
        yield new


def set_mode(descriptor: int, mode: int) -> None:
    """Let people read and write it as `mode` says, unless the disk decides that itself, as FAT and CIFS do."""
    try:
        os.fchmod(descriptor, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise


def _put_back(draft: Draft, before: bytes | None) -> None:
    if before is None:
        draft.path.unlink(missing_ok=True)
    else:
        write_atomically(draft.path, before, mode=draft.mode, flush=True)


def tidy(folder: Path) -> None:
    """Remove what killed processes left in a folder; what somebody is writing stays, and whatever cannot be locked."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_file(follow_symlinks=False):
                _remove_if_abandoned(Path(entry.path))


def being_written(path: Path) -> bool:
    """Whether somebody holds the lock of a file, be it in another container; False also where nobody can tell."""
    with suppress(OSError):
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def _tidy_once(folder: Path) -> None:
    """In each folder at the first file only: a ledger has thousands of entries."""
    with _guard:
        if str(folder) in _tidied:
            return
        _tidied[str(folder)] = None
    tidy(folder)


def _remove_if_abandoned(path: Path) -> None:
    with suppress(OSError):
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def _opened(path: Path) -> int:
    """For its lock alone, whatever it is."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)


def _new_file(folder: Path) -> tuple[int, str]:
    try:
        return tempfile.mkstemp(dir=folder, prefix=PREFIX)
    except OSError as error:
        error.filename = None  # a name that nobody has seen
        raise


def _locked_file(folder: Path) -> tuple[int, Path]:
    """A new file, locked; another one where somebody took it for a leftover before it was."""
    while True:
        descriptor, name = _new_file(folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # at this moment somebody finds out that nobody holds it
            Path(name).unlink(missing_ok=True)
            os.close(descriptor)
            continue
        except OSError:  # a file system without locks, where nobody can take it for a leftover either
            return descriptor, Path(name)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)
