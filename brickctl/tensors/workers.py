"""Who makes the pieces of shards, and nothing else: order, hashing and results belong to the shard writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from brickctl.core.graph import outputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from brickctl.core.plan import Shard
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.memory import Share
    from brickctl.tensors.pieces import Compute, Piece, Prepare, Target
    from brickctl.tensors.threads import Made

ENOUGH = 1 << 24
"""Elements to compute from which on processes are worth their start, which takes as long as a few blocks."""


class Workers(Protocol):
    """Several workers at once; a context manager that leaves none behind."""

    window: int
    """How many pieces may be under way or waiting."""

    blocks_at_once: int
    """How many blocks a piece has at most."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def stop(self) -> None:
        """Nobody wants results any more: what is under way ends at its next block."""

    def prepare(self, piece: Prepare) -> None:
        """Begin what blocks will ask for; an error in it shows when they do."""

    def is_ready(self, piece: Compute) -> bool:
        """Whether what a block asks for is there, so that nobody would have to wait for it."""

    def begin(self, piece: Piece, target: Target) -> Future[Made] | Future[None]:
        """Make a piece of a file; None is one that stands in it already."""


def workers(shards: Sequence[Shard], blobs: Blobs, share: Share) -> Workers:
    """Those that suit what has to be made.

    Between kernels a thread of Python waits until another one lets go of the lock; processes wait for nobody. Threads
    are for what takes less time than to start a process, for whole matrices, which they share, and for where processes
    cannot be forked: on other systems than Linux, by a daemon, without semaphores.
    """
    computed = [node for shard in shards for _, node in shard.computed]
    is_small = sum(node.spec.elements for node in computed) < ENOUGH
    if share.threads == 1 or is_small or any(map(outputs, computed)):
        return _threads(blobs, share)
    from brickctl.tensors.processes import NoProcesses, ProcessWorkers, can_fork

    try:
        return ProcessWorkers(shards, blobs, share) if can_fork() else _threads(blobs, share)
    except NoProcesses:
        return _threads(blobs, share)


def _threads(blobs: Blobs, share: Share) -> Workers:
    from brickctl.tensors.threads import ThreadWorkers

    return ThreadWorkers(blobs, share)
