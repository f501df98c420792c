"""What a build will take: time, memory, and what has to be fetched first. An estimate, and what it is based on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.nodes import Stored, walk
from brickctl.core.plan import Copy, Shard
from brickctl.tensors.costs import Work, work_of
from brickctl.tensors.memory import expected_memory
from brickctl.workflows.machine_speed import Speed, speed_of
from brickctl.workflows.parallel import in_parallel
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
_TORCH = 1.8  # s: its import
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
        seconds: from start to end, without downloading.
        speed: what was measured of this machine.
    """

    fetch: int
    read: int
    shares: Shares
    memory: int
    seconds: float
    speed: Speed


def estimate(
    session: Session, pins: Iterable[Pin], plan: Plan, folder: Path, budget: Budget, *, force: bool = False
) -> Estimate:
    """What building a plan into a folder will take here and now.

    Raises:
        NoSpace: the plan does not fit into the budget of memory.
    """
    files, fetch = _present(session, tuple(pins))
    made = plan.shards if force else not_made_yet(session, plan, folder)
    taken_over = len(plan.shards) - len(made)
    copied = sum(shard.size for shard in plan.shards) - sum(shard.size for shard in made)
    copied += sum(task.size for task in plan.tasks if isinstance(task, Copy))
    computes = any(not isinstance(node, Stored) for shard in made for _, node in shard.tensors)
    read = _to_be_read(made, files)
    speed = speed_of(folder, cache_folder())
    buffers = expected_memory(plan, threads=budget.threads, memory=budget.memory)
    return Estimate(
        fetch=fetch,
        read=read,
        shares=Shares(made=len(made), taken_over=taken_over),
        memory=buffers + (_TORCH_MEMORY if computes else _PYTHON_MEMORY),
        seconds=_seconds(work_of(made), read, copied, speed, budget.threads, torch=computes),
        speed=speed,
    )


def _seconds(work: Work, read: int, copied: int, speed: Speed, threads: int, *, torch: bool) -> float:
    """The longest of what goes on at once: arithmetic on all cores, hashing in one thread, and the disk."""
    cores = min(threads, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    spread, alone = work.spread / speed.arithmetic, work.alone / speed.arithmetic
    writer = work.written / speed.sha256 + (work.written + copied) * _PAGE
    disk = read / speed.read + (work.written + copied) / speed.write if speed.read and speed.write else 0.0
    start = _START + (_TORCH if torch else 0.0)
    return start + alone + max(spread / cores, writer, (spread + writer) / max(cores, 1), disk)


def _present(session: Session, pins: tuple[Pin, ...]) -> tuple[Mapping[Sha256, Path], int]:
    """Files that are here, by digest, and how many bytes have to be fetched; bricks with a gap are fetched whole."""
    files: dict[Sha256, Path] = {}
    located = in_parallel(session.sources.locate, pins)
    for pin, paths in zip(pins, located, strict=True):
        files |= {file.sha256: paths[file.path] for file in pin.files if paths is not None}
    missing = {file.sha256: file.size for pin in pins for file in pin.files if file.sha256 not in files}
    return files, sum(missing.values())


def _to_be_read(shards: Iterable[Shard], files: Mapping[Sha256, Path]) -> int:
    """Bytes of the tensors that shards are made from and that the system does not hold in memory."""
    nodes = {node for shard in shards for _, root in shard.tensors for node in walk(root) if isinstance(node, Stored)}
    sizes: dict[Sha256, int] = {}
    for node in nodes:
        sizes[node.blob] = sizes.get(node.blob, 0) + node.spec.bytes
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
