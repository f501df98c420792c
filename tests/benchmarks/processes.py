"""Whole processes, measured from their start to their end."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Round:
    """One process: seconds from start to end, seconds of its cores, and the most memory that it held, in MiB."""

    wall: float
    cores: float
    peak: float


def measure(command: list[str], environment: dict[str, str]) -> Round:
    """Run a process to its end; where it fails, once more, so that what it says is seen."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    if status != 0:
        subprocess.run(command, env=environment, check=True)
    return Round(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def medians(found: Sequence[Round]) -> Round:
    """The middle of each figure by itself."""
    middle = statistics.median
    return Round(
        middle(one.wall for one in found), middle(one.cores for one in found), middle(one.peak for one in found)
    )
