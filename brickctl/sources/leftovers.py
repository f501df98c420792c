"""Files that killed processes left behind, and how to tell them from those that somebody is writing."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

UNFINISHED = re.compile(r"\.(?:brickctl-)?new-.+|.+\.(?:incoming|partial)")
"""What brickctl calls files that are not whole yet."""

CLIENTS = re.compile(r".+\.incomplete")
"""What the Hub's client calls them."""

SET_ASIDE = re.compile(r".+\.corrupt-[1-9][0-9]*")
"""What `quarantine` calls the files that it moved aside."""

_PAUSE = 60
_ABANDONED = 24 * 3600
_PROCESSES = Path("/proc")


@dataclass(frozen=True, slots=True)
class InUse:
    """Paths that processes of this machine had open or mapped at one moment; None where the system does not say."""

    paths: frozenset[str] | None

    @classmethod
    def now(cls) -> InUse:
        """Look at every process that may be looked at."""
        if not (_PROCESSES / "self" / "fd").is_dir():
            return cls(None)
        found: set[str] = set()
        for process in _PROCESSES.iterdir():
            if process.name.isdigit():
                found |= _opened(process) | _mapped(process)
        return cls(frozenset(found))

    def abandoned(self, path: Path, pause: int = _PAUSE) -> bool:
        """Whether nobody is at work on a file, or on anything in a folder.

        It is open nowhere, and was last written `pause` seconds ago: a download stands still for moments, and a process
        in another container cannot be seen. Where nothing can be seen, or the file is another user's, a day must have
        passed.
        """
        status = path.lstat()
        since = time.time() - status.st_mtime
        if self.paths is None or status.st_uid != os.getuid():
            return since > _ABANDONED
        real = os.path.realpath(path)
        busy = any(used == real or used.startswith(f"{real}{os.sep}") for used in self.paths)
        return not busy and since > pause


def _opened(process: Path) -> set[str]:
    found = set()
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(os.readlink(descriptor))  # noqa: PTH115 - of text that need not be a path
    return found


def _mapped(process: Path) -> set[str]:
    found = set()
    with suppress(OSError), (process / "maps").open(encoding="utf-8", errors="surrogateescape") as lines:
        found = {line[line.index("/") :].rstrip("\n") for line in lines if "/" in line}
    return found
