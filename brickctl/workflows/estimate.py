"""What a build will take: time, memory, and what has to be fetched first. An estimate, and what it is based on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.graph import each_once
from brickctl.core.nodes import Stored
from brickctl.core.plan import Copy, Shard
from brickctl.tensors.costs import Work, work_of
from brickctl.tensors.fused.without_torch import needs_torch
from brickctl.tensors.memory import expected_memory
from brickctl.workflows.machine_speed import Speed, free_cores, speed_of
from brickctl.workflows.parallel import cores_of_process, in_parallel
from brickctl.workflows.session import cache_folder
from brickctl.workflows.take_over import Shares, not_made_yet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from brickctl.core.brick import Pin
    from brickctl.core.digests import Sha256
    from brickctl.core.plan import Plan
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.session import Session

_START = 0.5  # s: Python, and planning
_TORCH = 1.0  # s: its import
_PYTHON_MEMORY = 50 << 20
_TORCH_MEMORY = 220 << 20
_PAGE = 0.5e-9  # s for a byte that passes from memory to a file's pages
_SAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a build will take.

    Attributes:
        fetch: bytes to download first, which no measured time includes.
        read: bytes of inputs that have to come from the disk; the others are in memory already.
        shares: how many weight files will be made, and taken over.
        memory: bytes of the process at most; buffers are the smaller part of it.
        seconds: from start to end, without downloading, and without what a device does.
        speed: what was measured of this machine.
        cores: how many cores the build will use,
        free: and how much of them other programs leave free now.
    """

    fetch: int
    read: int
    shares: Shares
    memory: int
    seconds: float
    speed: Speed
    cores: int
    free: float


def estimate(
    session: Session, pins: Iterable[Pin], plan: Plan, folder: Path, budget: Budget, *, force: bool = False
) -> Estimate:
    """What building a plan into a folder will take here and now.

    Raises:
        NoSpace: the plan does not fit into the budget of memory.
        UsageFault: there is no such device.
    """
    files, fetch = _present(session, tuple(pins))
    buffers = expected_memory(plan, threads=budget.threads, memory=budget.memory, device=budget.device)
    made = plan.shards if force else not_made_yet(session, plan, folder)
    torch = any(needs_torch(node) for shard in made for _, node in shard.computed)
    copies = [task for task in plan.tasks if isinstance(task, Copy)]
    read, written = (
        _to_be_read(made, copies, files),
        sum(task.size for task in plan.tasks if isinstance(task, Shard | Copy)),
    )
    speed, cores = speed_of(folder, cache_folder()), min(budget.threads, cores_of_process())
    free = free_cores(cores, speed.sha256)
    start = _START + (_TORCH if torch else 0.0)
    busy = _on_cores(work_of(made), written, speed, cores, moved=budget.device is not None)
    return Estimate(
        fetch=fetch,
        read=read,
        shares=Shares(made=len(made), taken_over=len(plan.shards) - len(made)),
        memory=buffers + (_TORCH_MEMORY if torch else _PYTHON_MEMORY),
        seconds=start * cores / free + max(busy * cores / free, _on_disk(speed, read, written)),
        speed=speed,
        cores=cores,
        free=free,
    )


def _on_disk(speed: Speed, read: int, written: int) -> float:
    """Seconds that the disk is busy; unknown, and left out, where it could not be tried."""
    return read / speed.read + written / speed.write if speed.read and speed.write else 0.0


def _on_cores(work: Work, written: int, speed: Speed, cores: int, *, moved: bool) -> float:
    """Seconds with all cores free: threads share the arithmetic, while one hashes and writes what they made."""
    spread = work.spread / speed.arithmetic
    alone = (work.alone + (0.0 if moved else work.movable)) / speed.arithmetic
    writer = work.written / speed.sha256 + written * _PAGE
    return alone + max(writer, (spread + writer) / cores)


def _present(session: Session, pins: tuple[Pin, ...]) -> tuple[Mapping[Sha256, Path], int]:
    """Files that are here, by digest, and how many bytes have to be fetched; bricks with a gap are fetched whole."""
    files: dict[Sha256, Path] = {}
    located = in_parallel(session.sources.locate, pins)
    for pin, paths in zip(pins, located, strict=True):
        files |= {file.sha256: paths[file.path] for file in pin.files if paths is not None}
    missing = {file.sha256: file.size for pin in pins for file in pin.files if file.sha256 not in files}
    return files, sum(missing.values())


def _to_be_read(shards: Iterable[Shard], copies: Iterable[Copy], files: Mapping[Sha256, Path]) -> int:
    """Bytes of the tensors that shards are made from, and of whole files, that the system does not hold in memory."""
    below = each_once(root for shard in shards for _, root in shard.tensors)
    nodes = {node for node in below if isinstance(node, Stored)}
    sizes: dict[Sha256, int] = {}
    for node in nodes:
        sizes[node.blob] = sizes.get(node.blob, 0) + node.spec.bytes
    for task in copies:
        sizes[task.blob] = max(sizes.get(task.blob, 0), task.size)
    return sum(round(size * (1 - _part_in_memory(files[blob]))) for blob, size in sizes.items() if blob in files)


def _part_in_memory(path: Path) -> float:
    """How much of a file the system has in memory, by samples; none of it where it does not tell."""
    if not hasattr(os, "preadv") or not hasattr(os, "RWF_NOWAIT"):
        return 0.0
    hits, buffer = 0, bytearray(1)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0.0
    try:
        size = os.fstat(descriptor).st_size
        for number in range(_SAMPLES):
            try:
                hits += os.preadv(descriptor, [buffer], size * number // _SAMPLES, os.RWF_NOWAIT)
            except BlockingIOError:
                continue
            except OSError:
                return 0.0
    finally:
        os.close(descriptor)
    return hits / _SAMPLES
