"""Which faults are in force, and how often each has struck."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.hub.faults import Fault


@dataclass(slots=True)
class _Entry:
    glob: str
    fault: Fault
    method: str | None
    met: int = 0

    def matches(self, method: str, path: str) -> bool:
        used_up = self.fault.times is not None and self.met >= self.fault.times
        return not used_up and self.method in (None, method) and fnmatchcase(path, self.glob)


@dataclass(slots=True)
class FaultBook:
    """Faults by path, in the order in which they were added."""

    _entries: list[_Entry] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, glob: str, fault: Fault, method: str | None) -> None:
        with self._lock:
            self._entries.append(_Entry(glob, fault, method))

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def strike(self, method: str, path: str) -> tuple[tuple[Fault, int], ...]:
        """Return the faults that this request meets, each with its occurrence, and count them."""
        with self._lock:
            struck = [entry for entry in self._entries if entry.matches(method, path)]
            met = tuple((entry.fault, entry.met) for entry in struck)
            for entry in struck:
                entry.met += 1
        return met
