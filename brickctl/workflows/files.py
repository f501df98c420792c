"""Files and folders that are written where others may have put links: nothing is written through one."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.errors import Busy, UsageFault
from brickctl.sources.atomic import NO_LOCKS, Draft, write_together
from brickctl.tensors.refusals import named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MODE = 0o644
_NOT_FLUSHED = {errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


def refuse_link(*places: Path) -> None:
    """Make sure that each place is free or a real folder.

    A link in a project that came from elsewhere could lead what is written, or removed, to any folder of the user.

    Raises:
        UsageFault: one is a link, or a file.
    """
    for place in places:
        if place.is_symlink():
            cause = f"it is a link to {place.readlink()}, and brickctl writes through no link"
            hint = "remove the link, or put a folder in its place; nothing was changed"
            raise UsageFault(f"{place} will not be used", causes=(cause,), hint=hint)
        if place.exists() and not place.is_dir():
            hint = "move it away; nothing was changed"
            raise UsageFault(f"{place} will not be used", causes=("it is not a folder",), hint=hint)


def refuse_file_in_the_way(place: Path) -> None:
    """Make sure that `place` can be a folder: what there is of it, or of those above it, must be folders.

    Raises:
        UsageFault: there is a file, or a link to nothing, where a folder would have to be.
    """
    there = next((folder for folder in (place, *place.parents) if os.path.lexists(folder)), None)
    if there is not None and not there.is_dir():
        cause = f"{there} is {'a link to nothing' if there.is_symlink() else 'a file, and no folder'}"
        raise UsageFault(
            f"{place} cannot be a folder", causes=(cause,), hint="choose another place; nothing was changed"
        )


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and those above it, unless they are there; what was made goes again if what is inside fails.

    Raises:
        UsageFault: a file is in the way.
    """
    refuse_file_in_the_way(folder)
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:  # Ctrl-C too
        for one in made:
            with suppress(OSError):  # it was not made yet, or somebody else has put something there
                one.rmdir()
        raise


@contextmanager
def alone(path: Path, what: str, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path` alone; it is gone afterwards, and never removed while somebody else may hold it.

    Where another process holds it, `tell` is told and it is waited for; without `tell` nobody waits. On a disk without
    locks the work goes on all the same, and `tell` is told what is up to the user then; without `tell` it does not.

    Raises:
        Busy: another process holds it, and nobody waits.
        OSError: there are no locks, and nobody to tell.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(path, what, tell)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path, what: str, tell: Callable[[str], None] | None) -> int:
    """The locked file at `path`; one that its last holder removed in the meantime is not it."""
    while True:
        if path.is_symlink():
            raise UsageFault(f"{path} will not be used", causes=("it is a link",), hint="remove the link")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            _wait(descriptor, what, tell)
        except OSError as error:
            if error.errno in NO_LOCKS and tell is not None:
                tell(f"the disk of {path.parent} has no locks: make sure that no other brickctl is {what}")
                return descriptor
            os.close(descriptor)
            if error.errno in NO_LOCKS:  # so that nobody can hold what was just made
                path.unlink(missing_ok=True)
            raise
        os.close(descriptor)


def _wait(descriptor: int, what: str, tell: Callable[[str], None] | None) -> None:
    """Until the holder lets go; it removes the file then, so the lock that one gets is of no use."""
    if tell is None:
        os.close(descriptor)
        hint = "wait for it, or stop it; nothing was changed"
        raise Busy(f"another brickctl is {what}", hint=hint) from None
    tell(f"waiting: another brickctl is {what}")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:  # Ctrl-C
        os.close(descriptor)
        raise


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that takes the place of what is there, be it a link; flushed to the disk."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    with named(path), os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def write_texts_of_user(texts: Mapping[Path, bytes]) -> None:
    """Replace files that people own, all or none, so that readers see of each the old content or the new.

    Their modes stay, and links are kept.

    Raises:
        UsageFault: one is a folder, or a link to nothing.
    """
    write_together([_draft(path, content) for path, content in texts.items()], flush=True)


def _draft(path: Path, content: bytes) -> Draft:
    if path.is_symlink() and not path.exists():
        raise UsageFault(f"{path} is a link to nothing", hint="remove the link; nothing was changed")
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise UsageFault(f"{path} is not a file", hint="move it away; nothing was changed")
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else _MODE
    return Draft(path, content, mode)


def flush_tree(folder: Path) -> None:
    """Write the entries of a folder, and of every folder below it, to the disk."""
    for inside, _, _ in os.walk(folder):
        flush(Path(inside))


def flush(folder: Path) -> None:
    """Write a folder's entries to the disk; CIFS, and some disks that programs mount, do so unasked, and refuse."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with named(folder):
            os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FLUSHED:
            raise
    finally:
        os.close(descriptor)
