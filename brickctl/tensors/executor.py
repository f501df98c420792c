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
from brickctl.tensors.shard_writer import ShardWriter
from brickctl.tensors.torch_import import begin_torch_import
from brickctl.tensors.whole_files import copy_files
from brickctl.tensors.workers import workers

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.ports import Progress
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.device import Device
    from brickctl.tensors.journal import Journal
    from brickctl.tensors.memory import Share


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
    """Runs the tasks of a plan: what is known first, shards one after another, with what `provide` gave it."""

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
        copies = [task for task in plan.tasks if isinstance(task, Copy)]
        with workers(unfinished, self._blobs, self._part) as hands:
            self._progress.start(self._label, sum(_size(task) for task in plan.tasks))
            files = [self._write(task, folder) for task in plan.tasks if isinstance(task, Text)]
            copy_files(copies, folder, self._blobs, self._part.threads, self._advance)
            files += [File(path=task.path, size=task.size, sha256=task.blob) for task in copies]
            writer = ShardWriter(hands, self._advance)
            files += [self._make(shard, folder, finished[shard.path], journal, writer) for shard in plan.shards]
        self._progress.finish(self._label)
        return tuple(sorted(files))

    def _advance(self, count: int) -> None:
        self._progress.advance(self._label, count)

    def _write(self, task: Text, folder: Path) -> File:
        path = folder / task.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened_new(path) as file:
            write_at(file, task.content, 0)
            os.fsync(file)
        self._advance(len(task.content))
        return File(path=task.path, size=len(task.content), sha256=sha256_bytes(task.content))

    def _make(self, shard: Shard, folder: Path, known: Sha256 | None, journal: Journal, writer: ShardWriter) -> File:
        """Make a shard, unless its digest is `known`, as an earlier run has finished it."""
        path = folder / shard.path
        if known is not None:
            self._advance(shard.size)
            return File(path=shard.path, size=shard.size, sha256=known)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = writer.write(shard, path)
        journal.record(shard, path, digest)
        return File(path=shard.path, size=shard.size, sha256=digest)


def _size(task: Task) -> int:
    return len(task.content) if isinstance(task, Text) else task.size
