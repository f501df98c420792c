"""Asking again after a pause, for small questions whose repetition changes nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from brickctl.errors import OfflineMiss, TransportFault

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

PAUSES = (1.0, 3.0)
"""Seconds before the second and the third attempt."""

LONGEST_WAIT = 20.0
"""Seconds that a server may ask for before the next attempt; one that asks for more has failed."""


def patiently(ask: Callable[[], _T]) -> _T:
    """The answer, or the error of the last attempt, when the network or the server fails."""
    for pause in PAUSES:
        try:
            return ask()
        except TransportFault as fault:
            pause_after(fault, pause)
    return ask()


def pause_after(fault: TransportFault, pause: float) -> None:
    """Wait for `pause` seconds, or for as long as the server asks; raise the fault where another attempt is no use."""
    if isinstance(fault, OfflineMiss) or fault.wait is None or fault.wait > LONGEST_WAIT:
        raise fault
    time.sleep(max(pause, fault.wait))
