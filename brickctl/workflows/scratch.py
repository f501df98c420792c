"""Folders that are there for a while: what a killed process left of its own is removed by the next one.

Each is locked meanwhile, as files are that are not finished (`sources/atomic.py`): so what nobody uses any more can be
told from what others are using at this moment.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = ".brickctl-scratch-"


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """A new folder in a folder, empty, and removed again."""
    _tidy(place)
    while True:
        with tempfile.TemporaryDirectory(dir=place, prefix=PREFIX) as name:
            descriptor = _opened(name)
            try:
                if _is_mine(descriptor, Path(name)):
                    yield Path(name)
                    return
            finally:
                os.close(descriptor)


def _is_mine(descriptor: int, path: Path) -> bool:
    """Whether the folder could be locked before somebody took it for a leftover."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where nobody can take it for a leftover either
        return True
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.lstat())


def _tidy(place: Path) -> None:
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    with suppress(OSError):
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
        finally:
            os.close(descriptor)


def _opened(path: str) -> int:
    """For its lock alone."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
