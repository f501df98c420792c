"""From a target of the manifest to the artifact that it becomes: steps in order, rounded once at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.model import Artifact
from brickctl.operations.operation import Ingredients, Operation, check_aliases, read_step
from brickctl.operations.recast import recast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.dtypes import DType
    from brickctl.core.manifest import Input, Manifest, Target
    from brickctl.core.names import Alias


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A target with everything that it builds on, read and checked; what a build needs to know of the manifest."""

    name: Alias
    start: Recipe | None
    dtype: DType | None
    shard_size: int | None
    operations: tuple[Operation, ...]

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """Every brick that takes part, without the base, each once, sorted."""
        own = {alias for operation in self.operations for alias in operation.aliases if alias != "base"}
        return tuple(sorted(own.union(self.start.aliases if self.start else ())))

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Every file of the project that is read, each once, sorted by path."""
        own = [one for operation in self.operations for one in operation.inputs]
        by_path = {one.path: one for one in (*own, *(self.start.inputs if self.start else ()))}
        return tuple(by_path[path] for path in sorted(by_path))

    @property
    def reproducible(self) -> str:
        """The weakest of the steps."""
        classes = [operation.reproducible for operation in self.operations]
        classes += [self.start.reproducible] if self.start else []
        return "numeric" if "numeric" in classes else "bitwise"

    @property
    def computes(self) -> bool:
        """Whether making the artifact takes arithmetic."""
        started = self.start is not None and self.start.computes
        return started or self.dtype is not None or any(operation.computes for operation in self.operations)

    def document(self) -> Mapping[str, Any]:
        """The recipe with every default written out: the external parameters of the provenance."""
        return {
            "target": self.name,
            "from": "base" if self.start is None else {"target": self.start.document()},
            "dtype": None if self.dtype is None else self.dtype.torch_name,
            "shard-size": self.shard_size,
            "apply": [dict(operation.document()) for operation in self.operations],
        }

    def artifact(self, ingredients: Ingredients) -> Artifact:
        """The lazy artifact; reads no weights.

        Raises:
            Misfit, Unsupported, ManifestInvalid.
        """
        artifact = self.configured(ingredients)
        if not artifact.parts:
            return artifact
        from brickctl.operations.stack import check_rows, name_base

        check_rows(artifact, ingredients)
        return name_base(artifact, ingredients)

    def configured(self, ingredients: Ingredients) -> Artifact:
        """The artifact as the targets that start from this one take it up."""
        start = Artifact(root=ingredients.base) if self.start is None else self.start.configured(ingredients)
        artifact = start
        for operation in self.operations:
            artifact = operation.apply(artifact, ingredients)
        return recast(artifact, start.root, self.dtype)


def read_recipe(manifest: Manifest, target: Target) -> Recipe:
    """Read every step of a target and of the targets below it.

    Raises:
        ManifestInvalid: an operation, method, parameter or brick that does not exist.
    """
    operations = tuple(read_step(step) for step in target.apply)
    for step, operation in zip(target.apply, operations, strict=True):
        check_aliases(step, operation, manifest.usable)
    start = None if target.start is None else read_recipe(manifest, manifest.targets[target.start])
    return Recipe(
        name=target.name, start=start, dtype=target.dtype, shard_size=target.shard_size, operations=operations
    )
