"""Reproduce: build a target again beside its artifact, and compare every byte, or what `numeric` allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import NotFound, NotReproducible
from brickctl.workflows import provenance
from brickctl.workflows.artifact import hash_files, names_in
from brickctl.workflows.build import Built, build
from brickctl.workflows.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.lock import Lock
    from brickctl.operations.target import Recipe
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.session import Session

NUMERIC_BOUND = 1e-5
"""How far two builds of a `numeric` target may be apart: max|a - b| / max|b| of every tensor."""

_MOST_SHOWN = 5


def reproduce(session: Session, recipe: Recipe, folder: Path, lock: Lock, budget: Budget) -> Built:
    """Build again beside the artifact and compare every byte; the artifact stays as it is.

    Raises:
        NotReproducible: a file came out differently.
        NotFound: there is no artifact to compare with.
    """
    recorded = provenance.read_statement(folder)
    if recorded is None:
        raise NotFound(f"there is no artifact in {folder}", hint=f"run `brickctl build {recipe.name}` first")
    found = hash_files({name: folder / name for name in names_in(folder)}, session.events)
    with scratch_folder(folder.parent) as beside:
        built = build(session, recipe, beside / folder.name, lock, budget, force=True)
        made = provenance.read_statement(built.folder)
        close = () if made is None else _close(made[0], folder, built.folder)
    wanted = {**({} if made is None else made[1]), **{path: found[path] for path in close if path in found}}
    causes = [*_differences(found, wanted)]
    causes += [
        f"its record of {path} differs"
        for path in _differing(recorded[1], wanted)
        if found.get(path) == wanted.get(path)
    ]
    if causes:
        hint = "the artifact was changed, or was built from another lock; `brickctl build --force` makes it anew"
        raise NotReproducible(f"{folder} is not what its recipe makes", causes=tuple(causes[:_MOST_SHOWN]), hint=hint)
    return Built(target=recipe.name, folder=folder, digest=built.digest, fresh=False)


def _close(made: Mapping[str, Any], folder: Path, other: Path) -> tuple[str, ...]:
    """The weight files that are as near as an artifact that is `numeric` promises."""
    if made["internalParameters"] != {"reproducible": "numeric"}:
        return ()
    from brickctl.tensors.closeness import distance

    pairs = [(path, other / path.name) for path in sorted(folder.glob("*.safetensors")) if path.is_file()]
    return tuple(path.name for path, again in pairs if again.is_file() and distance(path, again)[0] <= NUMERIC_BOUND)


def _differences(found: Mapping[str, Sha256], wanted: Mapping[str, Sha256]) -> Iterator[str]:
    """What is wrong with the files of an artifact, by path."""
    for path in _differing(found, wanted):
        what = "is missing" if path not in found else "differs" if path in wanted else "is not made by the recipe"
        yield f"{shown(path)} {what}"


def _differing(one: Mapping[str, Sha256], other: Mapping[str, Sha256]) -> list[str]:
    return sorted(path for path in {**one, **other} if one.get(path) != other.get(path))
