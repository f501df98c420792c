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


def patiently(ask: Callable[[], _T]) -> _T:
    """The answer, or the error of the last attempt, when the network or the server fails."""
    for pause in PAUSES:
        try:
            return ask()
        except OfflineMiss:
            raise
        except TransportFault:
            time.sleep(pause)
    return ask()
