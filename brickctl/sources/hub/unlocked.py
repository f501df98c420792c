"""Downloads where the Hub's cache lies on a disk without locks, such as NFS without its lock daemon.

The client takes a lock for each file that it downloads, so that nobody downloads it twice at once. Its cache does not
depend on that: it writes under a name of its own, and whatever comes out is checked here. But where the system has no
locks at all, it refuses to go on.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from huggingface_hub import file_download

from brickctl.sources.atomic import NO_LOCKS
from brickctl.sources.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_T = TypeVar("_T")
_turns = Turns()


def with_or_without_locks(download: Callable[[], _T]) -> _T:
    """What `download` gives; where locks are refused, the client does without them for the rest of this process."""
    try:
        return download()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    setattr(file_download, "WeakFileLock", _turn)  # noqa: B010 - it is the client's own, with another type
    return download()


@contextmanager
def _turn(lock_file: str | Path, *, timeout: float | None = None) -> Iterator[None]:  # noqa: ARG001 - as the client calls it
    """Threads of this process still go one after the other."""
    with _turns.of(str(lock_file)):
        yield
