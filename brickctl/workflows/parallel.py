"""Several waits at once: the same work for every name, results and the first error in the order of the names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_THREADS = 8
"""Work that waits for a network or a disk gains from more threads than there are cores."""


def in_parallel(work: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
    """Call `work` for every item. After an error no further item is begun, and the error of the first item counts."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="brickctl-source")
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
