"""A plan for people and for programs: what `build --dry-run` answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.nodes import Stored
from brickctl.core.plan import Copy, Shard
from brickctl.core.plan_format import plan_digest
from brickctl.core.plan_format import plan_document as full_document
from brickctl.core.sizes import format_size

if TYPE_CHECKING:
    from brickctl.core.plan import Task
    from brickctl.workflows.build import Outline


def describe_plan(outline: Outline) -> str:
    """The plan as a few lines of text."""
    plan = outline.plan
    lines = [
        f"{outline.target} -> {outline.folder}",
        f"  reads {format_size(outline.inputs)}, writes {format_size(outline.output)}",
        f"  needs {format_size(outline.peak)} of buffers; {plan.reproducible}; plan sha256:{plan_digest(plan)[:16]}",
        *(f"  {_describe_task(task)}" for task in plan.tasks),
        *(f"  note: {note}" for note in plan.notes),
    ]
    return "\n".join(lines)


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
        "digest": f"sha256:{plan_digest(outline.plan)}",
        "plan": full_document(outline.plan),
    }
