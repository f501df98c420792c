"""What lies in the folder of a target, by its own record; no file of it is read but the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.belonging import SIGNATURE
from brickctl.core.digests import tree_digest
from brickctl.pages.target.contents import BUILT, NOT_BUILT, OUTDATED, Artifact
from brickctl.workflows.provenance import definition, is_same, read_statement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from brickctl.core.lock import Lock
    from brickctl.operations.target import Recipe
    from brickctl.workflows.session import Session


def artifact(session: Session, recipe: Recipe, lock: Lock | None) -> Artifact:
    """What a target was built into, and whether it would be built so now.

    Raises:
        IntegrityFault: its record is damaged.
        UsageFault: the folder of all artifacts is a link.
    """
    folder = session.artifact_folder(recipe.name)
    name = folder.relative_to(session.root).as_posix()
    recorded = read_statement(folder)
    if recorded is None:
        return Artifact(state=NOT_BUILT, folder=name)
    built, files = recorded
    return Artifact(
        state=BUILT if lock is not None and _is_current(recipe, lock, built) else OUTDATED,
        folder=name,
        digest=f"sha256:{tree_digest(files.items())}",
        files=tuple((path, _size(folder / path)) for path in sorted(files)),
        reproducible=built["internalParameters"]["reproducible"],
        signed=(folder / SIGNATURE).is_file(),
    )


def _is_current(recipe: Recipe, lock: Lock, built: Mapping[str, Any]) -> bool:
    """Whether a build of now would record the same."""
    if any(alias not in lock.entries for alias in recipe.aliases):
        return False
    if any(one.path not in lock.inputs for one in recipe.inputs):
        return False
    bricks = [lock.entries[alias] for alias in recipe.aliases]
    inputs = [lock.inputs[one.path] for one in recipe.inputs]
    return is_same(built, definition(recipe, lock.base, bricks, inputs))


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
