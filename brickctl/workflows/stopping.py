"""Being stopped between two steps of long work, and not in the middle of one."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what a cluster sends before it takes a machine away."""


@contextmanager
def stop_asked(tell: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Whoever presses Ctrl-C inside is answered by `tell`, and what is given says from then on that it was pressed.

    Pressed again, it does what it does elsewhere. In any thread but the first one nobody can be asked.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    found = {one: signal.getsignal(one) for one in _SIGNALS}
    before = {  # without what `nohup` ignores, and what was not set from Python
        one: handler for one, handler in found.items() if handler is not None and handler is not signal.SIG_IGN
    }

    def put_back() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    def hear(number: int, frame: Any) -> None:
        del number, frame
        put_back()
        asked.set()
        with suppress(RuntimeError):  # it may come while a line is being written, and another cannot be begun then
            tell()

    for one in before:
        signal.signal(one, hear)
    try:
        yield asked.is_set
    finally:
        put_back()
