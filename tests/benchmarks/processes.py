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
        anonymous: the most memory of its own, in MiB, looked at every 50 ms, with that of its children.
    """

    wall: float
    cores: float
    peak: float
    anonymous: float


def measure(command: list[str], environment: dict[str, str]) -> Round:
    """Run a process to its end; where it fails, once more, so that what it says is seen."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    anonymous, ended = 0.0, 0
    while not ended:
        anonymous = max(anonymous, anonymous_memory(process.pid))
        time.sleep(0.05)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    wall = time.perf_counter() - begin
    if status != 0:
        subprocess.run(command, env=environment, check=True)
    return Round(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, anonymous)


def anonymous_memory(process: int) -> float:
    """MiB of memory that belong to a process and its children and to no file; what they share counts once."""
    return sum(_share_of(one) for one in (process, *_children(process))) / 1024


def _share_of(process: int) -> int:
    """KiB of the process alone, and its part of what it shares with others."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
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
