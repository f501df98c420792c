"""When threads have really ended: Python says so while the system still takes them down.

On its way out a thread gives back what libraries keep for it, and MKL does so under spin locks. A process that is
forked in that moment gets copies of the locks that nobody will ever open, and its first matrix product turns for ever.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_TASKS = Path("/proc/self/task")
_MOMENT = 1e-4
_LONGEST = 1.0
"""Seconds to wait at most: a thread that ends takes less than a millisecond, and its number may be another's by now."""


def await_ends(numbers: Iterable[int]) -> None:
    """Wait until the threads with these numbers of the system, which Python has joined, are gone."""
    latest = time.monotonic() + _LONGEST
    for number in numbers:
        while (_TASKS / str(number)).exists() and time.monotonic() < latest:
            time.sleep(_MOMENT)
