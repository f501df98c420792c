"""Requirements: one pinned line a brick, for people to read and for programs to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.workflows.lock_export.export import Exported

if TYPE_CHECKING:
    from brickctl.core.brick import Pin
    from brickctl.core.lock import Locked
    from brickctl.workflows.lock_export.export import Subject

_ABOUT = (
    "# Each line: where a brick comes from, at which commit or version, and its tree digest: the sha256 of the lines",
    "# `SHA256  PATH` of its files, sorted by path.",
)


def requirements(subject: Subject) -> Exported:
    """The text, in the order of the lock; a comment behind each line names the brick, its kind and its licence."""
    whole = f"project {subject.project}" if subject.recipe is None else f"target {subject.recipe.name}"
    lines = (f"# The bricks of {whole}, as brick.lock pins them.", *_ABOUT, *map(_line, subject.entries))
    return Exported(text="\n".join(lines) + "\n")


def _line(entry: Locked) -> str:
    return f"{where(entry.pin)} --hash=sha256:{entry.pin.digest}  # {entry.alias}: {entry.kind}, {entry.license}"


def where(pin: Pin) -> str:
    """`hf:acme/legal-lora/checkpoint-300@COMMIT`, `corp:acme/sql@1.2.0`, `path:bricks/sql`."""
    at = pin.version if pin.brick is not None else pin.commit
    return pin.origin if at is None else f"{pin.origin}@{at}"
