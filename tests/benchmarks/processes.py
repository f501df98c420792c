"""Whole processes, measured from their start to their end."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Round:
    """One process from start to end.

    Attributes:
        wall: seconds.
        cores: seconds of all cores.
        peak: the most memory that it held, in MiB, with the pages of libraries and files that it had mapped.
        anonymous: the most memory of its own, in MiB, with that of its children, looked at every 20 ms.
    """

    wall: float
    cores: float
    peak: float
    anonymous: float


def measure(command: list[str], environment: dict[str, str]) -> Round:
    """Run a process to its end; where it fails, once more, so that what it says is seen."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    memory, ended = Memory(process.pid), 0
    while not ended:
        memory.look()
        time.sleep(0.02)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    wall = time.perf_counter() - begin
    if status != 0:
        subprocess.run(command, env=environment, check=True)
    return Round(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, memory.most)


class Memory:
    """Memory that belongs to a process and its children and to no file; what they share counts once.

    To ask for that holds up a process for 6 ms, so it is asked only when what each holds, shared or not, has grown.
    """

    def __init__(self, process: int) -> None:
        self._process = process
        self._held = 0
        self.most = 0.0
        """MiB, at most until now."""

    def look(self) -> None:
        """See what there is now."""
        family = (self._process, *_children(self._process))
        held = sum(_kibibytes(one, "status", "RssAnon:") for one in family)
        if held > 1.02 * self._held:
            self._held = held
            self.most = max(self.most, sum(_kibibytes(one, "smaps_rollup", "Pss_Anon:") for one in family) / 1024)


def _kibibytes(process: int, file: str, entry: str) -> int:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(entry))
    return 0


def _children(process: int) -> list[int]:
    with suppress(OSError):
        files = Path(f"/proc/{process}/task").glob("*/children")
        return [int(one) for file in files for one in file.read_text().split()]
    return []


def medians(found: Sequence[Round]) -> Round:
    """The middle of each figure by itself."""
    figures = zip(*map(astuple, found), strict=True)
    return Round(*map(statistics.median, figures))
