"""Clocks that are wrong: a machine whose battery is empty, or one that is put right in the middle of a command."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

YEARS = 10 * 365 * 24 * 3600
CLOCKS = {"years-ahead": (YEARS,), "years-behind": (-YEARS,), "jumping": (0, YEARS, -YEARS, -1, 1)}
"""How many seconds wrong each answer of a clock is, in turn. Time stamps of files are the system's own, and right."""


def set_clock(patch: pytest.MonkeyPatch, wrong: Sequence[int]) -> None:
    """Let this process be told a wrong time."""
    right, turns = time.time_ns, itertools.cycle(wrong)

    def time_ns() -> int:
        return right() + next(turns) * 1_000_000_000

    patch.setattr(time, "time_ns", time_ns)
    patch.setattr(time, "time", lambda: time_ns() / 1e9)
