"""File systems that lack something, or fail: patches of what the system answers to this process."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def refusing(number: int) -> Callable[..., Any]:
    """A system call that is refused."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return refuse


def refused(number: int, *calls: str) -> Callable[[pytest.MonkeyPatch], None]:
    """A file system that refuses some calls: `os.link`, `fcntl.flock`."""

    def change(patch: pytest.MonkeyPatch) -> None:
        for call in calls:
            module, _, function = call.partition(".")
            patch.setattr({"os": os, "fcntl": fcntl}[module], function, refusing(number), raising=False)

    return change


def without_exchange(patch: pytest.MonkeyPatch) -> None:
    """The system can exchange two folders in one step, and this file system cannot."""

    class Library:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        @staticmethod
        def renameat2(*_: Any) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

    patch.setattr(ctypes, "CDLL", Library)


def without_flushed_folders(patch: pytest.MonkeyPatch) -> None:
    """Files can be flushed, and folders cannot."""
    fsync = os.fsync

    def flush(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    patch.setattr(os, "fsync", flush)


LACKS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "no locks": refused(errno.ENOLCK, "fcntl.flock", "fcntl.lockf"),  # NFS without its lock daemon
    "no kind of locks": refused(errno.EOPNOTSUPP, "fcntl.flock", "fcntl.lockf"),
    "no links": refused(errno.EPERM, "os.link", "os.symlink"),  # FAT
    "no modes": refused(errno.EPERM, "os.chmod", "os.fchmod"),  # FAT, CIFS
    "no exchange": without_exchange,  # NFS
    "no copies between disks": refused(errno.EXDEV, "os.copy_file_range", "os.sendfile"),
    "no copies by the kernel": refused(errno.EINVAL, "os.copy_file_range", "os.sendfile"),
    "no such copies": refused(errno.EOPNOTSUPP, "os.copy_file_range", "os.sendfile"),
    "no flushed folders": without_flushed_folders,  # CIFS
}
"""What may lack; every command works all the same."""

FAILS = {
    "flushes fail": (refused(errno.EIO, "os.fsync"), "failed"),
    "writes fail": (refused(errno.EIO, "os.pwrite", "os.fsync"), "failed"),
    "files are too large": (refused(errno.EFBIG, "os.pwrite", "os.fsync"), "no-space"),  # FAT, from 4 GB
    "the quota is used up": (refused(errno.EDQUOT, "os.pwrite", "os.fsync"), "no-space"),
}
"""What may fail in the middle, and the code of the error that it is."""
