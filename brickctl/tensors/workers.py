"""Who makes the pieces of shards, and nothing else: order, hashing and results belong to the shard writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from brickctl.core.nodes import outputs
from brickctl.tensors.processes import ProcessWorkers, can_fork
from brickctl.tensors.threads import ThreadWorkers

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from brickctl.core.plan import Plan
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.memory import Share
    from brickctl.tensors.pieces import Compute, Piece, Prepare
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

    def begin(self, piece: Piece, path: Path, file: int) -> Future[Made] | Future[None]:
        """Make a piece of the file at `path`, which is open as `file`; None is one that stands in it already."""


def workers(plan: Plan, blobs: Blobs, share: Share) -> Workers:
    """Those that suit a plan.

    Between kernels a thread of Python waits until another one lets go of the lock; processes wait for nobody. Threads
    are for what takes less time than to start a process, for whole matrices, which they share, and for where processes
    cannot be forked: on other systems than Linux, below a daemon, without semaphores.
    """
    computed = [node for _, node in plan.computed]
    is_small = sum(node.spec.elements for node in computed) < ENOUGH
    if share.threads == 1 or is_small or not can_fork() or any(map(outputs, computed)):
        return ThreadWorkers(blobs, share)
    try:
        return ProcessWorkers(plan, blobs, share)
    except (OSError, ImportError, NotImplementedError):  # as Python says that semaphores or processes are missing
        return ThreadWorkers(blobs, share)
