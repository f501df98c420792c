"""Kill this process, as `kill -9` would, behind the k-th thing that it does to the disk.

Counted are writes, flushes, renames, links, folders made, and files opened for writing or removed, below the folder of
the report or wherever no path is known.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CALLS = ("write", "pwrite", "pwritev", "fsync", "fdatasync", "copy_file_range", "sendfile", "ftruncate")
_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Counter:
    """Counts, and kills when it is time."""

    def __init__(self, limit: int, folder: str) -> None:
        self.limit = limit
        self.folder = folder
        self.count = 0

    def step(self) -> None:
        self.count += 1
        if self.count == self.limit:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: told before the thing is done, so behind the one before."""
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING and self._is_inside(path):
                self.step()
        elif (event in _EVENTS and self._is_inside(arguments[0])) or (
            event == "ctypes.dlsym" and arguments[1] == "renameat2"
        ):
            self.step()

    def _is_inside(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(self.folder)  # noqa: PTH100

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **settings: Any) -> Any:
            result = call(*arguments, **settings)
            self.step()
            return result

        return run


def count_and_kill(limit: int, report: Path, run: Callable[[], int]) -> int:
    """Run something in this process, which is killed at step `limit`; `report` gets the number of steps if it is 0."""
    counter = Counter(limit, str(report.parent.absolute()))
    for name in _CALLS:
        setattr(os, name, counter.counted(getattr(os, name)))
    sys.addaudithook(counter.hear)
    code = run()
    if limit == 0:
        report.write_text(str(counter.count))
    return code
