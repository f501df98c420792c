"""Several waits at once: the same work for every name, results and the first error in the order of the names."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_THREADS = 8
"""Work that waits for a network or a disk gains from more threads than there are cores."""

_LOOK = 0.2
"""Seconds that an interrupt may go unseen."""

_GRACE = 2.0
"""Seconds that an interrupt gives to work under way, so that it removes what it was writing."""


def in_parallel(work: Callable[[_In], _Out], items: Iterable[_In], *, threads: int = _THREADS) -> list[_Out]:
    """Call `work` for every item, as many at once as there are `threads`.

    After an error no further item is begun, and the error of the first item counts. An interrupt ends the work under
    way and does not wait for what cannot be ended, such as a server that is silent.
    """
    shift = _Shift(work, items, threads)
    try:
        shift.work()
    except BaseException:
        shift.end()
        raise
    return shift.results()


def cores_of_process() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Shift(Generic[_In, _Out]):
    """Threads that take items in their order until none is left, or one has failed.

    They are daemons, unlike those of an executor: the interpreter does not wait for them when it exits.
    """

    def __init__(self, task: Callable[[_In], _Out], items: Iterable[_In], threads: int) -> None:
        self._task = task
        self._waiting = deque(enumerate(items))
        self._results: dict[int, _Out] = {}
        self._errors: dict[int, BaseException] = {}
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._at_work = count = min(threads, len(self._waiting))
        self._threads = [
            threading.Thread(target=self._labour, name=f"brickctl-source-{number}", daemon=True)
            for number in range(count)
        ]

    def work(self) -> None:
        """Do everything; waits in short spans, because a signal that another thread gets ends no wait of this one."""
        for thread in self._threads:
            thread.start()
        while self._threads and not self._over.wait(_LOOK):
            pass

    def results(self) -> list[_Out]:
        """What the work has given, in the order of the items, or the first error in that order."""
        if self._errors:
            raise self._errors[min(self._errors)]
        return [self._results[number] for number in sorted(self._results)]

    def end(self) -> None:
        """Begin nothing more, and raise SystemExit, of which threads say nothing, in the work under way."""
        self._waiting.clear()
        alive = [thread for thread in self._threads if thread.is_alive()]
        for thread in alive:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        until = time.monotonic() + _GRACE
        for thread in alive:
            thread.join(max(0.0, until - time.monotonic()))

    def _labour(self) -> None:
        try:
            while (job := self._next()) is not None:
                number, item = job
                try:
                    self._results[number] = self._task(item)
                except BaseException as error:  # noqa: BLE001 - whoever waits for the results gets it
                    self._errors[number] = error
        finally:
            with self._guard:
                self._at_work -= 1
                if not self._at_work:
                    self._over.set()

    def _next(self) -> tuple[int, _In] | None:
        with self._guard:
            return None if self._errors or not self._waiting else self._waiting.popleft()
