"""A plan for people and for programs: what `build --dry-run` answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.nodes import Stored
from brickctl.core.plan import Copy, Shard
from brickctl.core.plan_format import plan_digest
from brickctl.core.plan_format import plan_document as full_document
from brickctl.core.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.plan import Task
    from brickctl.workflows.build import Outline
    from brickctl.workflows.estimate import Estimate

_MINUTES_FROM = 100


def describe_plan(outline: Outline) -> str:
    """The plan as a few lines of text."""
    plan, expected = outline.plan, outline.estimate
    download = f"; {format_size(expected.fetch)} to download first" if expected.fetch else ""
    lines = [
        f"{outline.target} -> {outline.folder}" + ("" if outline.fresh else "  (up to date: nothing to do)"),
        f"  reads {format_size(outline.inputs)}, writes {format_size(outline.output)}{download}",
        f"  needs {_buffers(outline)}; {plan.reproducible}; plan sha256:{plan_digest(plan)[:16]}",
        *(f"  {line}" for line in _describe_estimate(expected, outline.device)),
        *(f"  {_describe_task(task)}" for task in plan.tasks),
        *(f"  note: {note}" for note in plan.notes),
    ]
    return "\n".join(lines)


def _buffers(outline: Outline) -> str:
    whole = f", {format_size(outline.whole)} for whole matrices" if outline.whole else ""
    there = f", and {format_size(outline.device[1])} on {outline.device[0]}" if outline.device else ""
    return f"{format_size(outline.peak)} of buffers{whole}{there}"


def _describe_estimate(expected: Estimate, device: tuple[str, int] | None) -> Iterator[str]:
    """What is expected, and on what grounds."""
    if expected.shares.taken_over:
        yield f"{expected.shares}"
    when = " without downloading" if expected.fetch else ""
    when += f" and what {device[0]} takes" if device else ""
    beside = " beside what its libraries take" if device else ""
    yield f"about {_duration(expected.seconds)}{when}, and at most {format_size(expected.memory)} of memory{beside}"
    speed = expected.speed
    disk = f"the disk writes {format_size(round(speed.write))}/s and reads {format_size(round(speed.read))}/s"
    disk = disk if speed.write else "no disk, since nothing can be written there"
    hashing = f"a core hashes {format_size(round(speed.sha256))}/s"
    yield f"estimated from what was measured here: {disk}, {hashing},"
    yield f"{expected.free:.1f} of {expected.cores} cores are free now; {format_size(expected.read)} not yet in memory"


def _duration(seconds: float) -> str:
    """With no more digits than an estimate has: `0.7 s`, `12 s`, `4 min`, `2.5 h`."""
    if seconds < _MINUTES_FROM:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - two digits
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < _MINUTES_FROM else f"{minutes / 60:.1f} h"


def _describe_task(task: Task) -> str:
    if isinstance(task, Copy):
        return f"copy    {task.path}  {format_size(task.size)}"
    if isinstance(task, Shard):
        changed = sum(not isinstance(node, Stored) for _, node in task.tensors)
        return f"shard   {task.path}  {format_size(task.size)}  {changed} of {len(task.tensors)} tensors computed"
    return f"write   {task.path}  {format_size(len(task.content))}"


def plan_document(outline: Outline) -> dict[str, Any]:
    """The plan in full: every node and task, as another machine would get it."""
    return {
        "target": outline.target,
        "folder": str(outline.folder),
        "bytes-in": outline.inputs,
        "bytes-out": outline.output,
        "peak-bytes": outline.peak,
        "device": None if outline.device is None else {"name": outline.device[0], "bytes": outline.device[1]},
        "up-to-date": not outline.fresh,
        "estimate": _estimate_document(outline.estimate),
        "digest": f"sha256:{plan_digest(outline.plan)}",
        "plan": full_document(outline.plan),
    }


def _estimate_document(expected: Estimate) -> dict[str, Any]:
    return {
        "download-bytes": expected.fetch,
        "disk-read-bytes": expected.read,
        "memory-bytes": expected.memory,
        "seconds": round(expected.seconds, 1),
        "shards": {"made": expected.shares.made, "taken-over": expected.shares.taken_over},
        "measured": {**expected.speed.document(), "cores": expected.cores, "free-cores": round(expected.free, 2)},
    }
