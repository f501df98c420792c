"""The local executor: turns a plan into files, in threads of this process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.brick import File
from brickctl.core.digests import sha256_bytes
from brickctl.core.plan import Copy, Plan, Shard, Task, Text
from brickctl.tensors.copying import write_at
from brickctl.tensors.fused.without_torch import needs_torch
from brickctl.tensors.memory import share
from brickctl.tensors.new_file import opened_new
from brickctl.tensors.shard_writer import ShardWriter, Tail
from brickctl.tensors.torch_import import begin_torch_import
from brickctl.tensors.workers import workers

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.ports import Progress
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.device import Device
    from brickctl.tensors.journal import Journal
    from brickctl.tensors.memory import Share


_PIECE = 64 << 20
"""Bytes that the kernel copies before anybody hears of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a build may use: threads, and bytes of buffers, neither of which changes a bit of the result; and a device.

    Unless told otherwise blocks may take `DEFAULT_MEMORY`, and whole matrices what they need; and they are made here.
    """

    threads: int
    memory: int | None = None
    device: Device | None = None


def provide(plan: Plan, budget: Budget) -> Share:
    """Begin to import torch, where anything of a plan needs it, and find out how the plan keeps to the budget.

    Raises:
        NoSpace: a bundle or one block does not fit.
        UsageFault: there is no such device.
    """
    if any(needs_torch(node) for _, node in plan.computed):
        begin_torch_import()
    return share(plan, threads=budget.threads, memory=budget.memory, device=budget.device)


class LocalExecutor:
    """Runs the tasks of a plan one after another, and the pieces of each in parallel, with what `provide` gave it."""

    def __init__(self, blobs: Blobs, part: Share, progress: Progress, label: str) -> None:
        self._blobs = blobs
        self._part = part
        self._progress = progress
        self._label = label

    def run(self, plan: Plan, folder: Path, journal: Journal) -> tuple[File, ...]:
        """Make every file of the plan below `folder`, which exists; what the journal knows is not made again.

        Returns the files, sorted by path, with the digests of what was written.

        Raises:
            IntegrityFault: a source became shorter.
            OSError: as the system says, ENOSPC among others.
        """
        finished = {shard.path: journal.finished(shard, folder / shard.path) for shard in plan.shards}
        unfinished = [shard for shard in plan.shards if finished[shard.path] is None]
        with workers(unfinished, self._blobs, self._part) as hands:
            self._progress.start(self._label, sum(_size(task) for task in plan.tasks))
            writer = ShardWriter(hands, lambda count: self._progress.advance(self._label, count))
            files = [self._make(task, folder, finished.get(task.path), journal, writer) for task in plan.tasks]
        self._progress.finish(self._label)
        return tuple(sorted(files))

    def _make(self, task: Task, folder: Path, known: Sha256 | None, journal: Journal, writer: ShardWriter) -> File:
        """Make a file, unless it is a shard whose digest is `known`, as an earlier run has finished it."""
        path = folder / task.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(task, Shard) and known is not None:
            self._progress.advance(self._label, task.size)
            return File(path=task.path, size=task.size, sha256=known)
        if isinstance(task, Shard):
            digest = writer.write(task, path)
            journal.record(task, path, digest)
            return File(path=task.path, size=task.size, sha256=digest)
        if isinstance(task, Text):
            _write(path, task.content)
            self._progress.advance(self._label, len(task.content))
            return File(path=task.path, size=len(task.content), sha256=sha256_bytes(task.content))
        self._copy(task, path)
        return File(path=task.path, size=task.size, sha256=task.blob)

    def _copy(self, task: Copy, path: Path) -> None:
        """A whole file, whose digest is known: the kernel copies it and nobody reads it."""
        with opened_new(path) as file:
            tail = Tail(file)
            for begin in range(0, task.size, _PIECE):
                size = min(_PIECE, task.size - begin)
                self._blobs.copy(task.blob, begin, file, begin, size)
                tail.follow(begin + size)
                self._progress.advance(self._label, size)
            os.fsync(file)


def _size(task: Task) -> int:
    return len(task.content) if isinstance(task, Text) else task.size


def _write(path: Path, content: bytes) -> None:
    with opened_new(path) as file:
        write_at(file, content, 0)
        os.fsync(file)
