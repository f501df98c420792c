"""Mask: the model of one task, of the unified model of several and a mask that was written beside it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE, Alias
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.errors import ManifestInvalid, Misfit
from brickctl.kinds.kind import kind_named
from brickctl.kinds.mask import FACTOR, bits, check_belongs
from brickctl.operations.combine import untie
from brickctl.operations.operation import Ingredients, Operation, refuse_masked, refuse_restacked, register
from brickctl.tensors.arithmetic import add, multiply
from brickctl.tensors.bits import unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick
    from brickctl.core.manifest import Step
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.errors import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A mask step: a mask, and the unified model that it belongs to."""

    brick: Alias
    unified: Alias
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"
    computes = True
    takes_layers = False
    inputs = ()

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The unified model and the mask."""
        return self.unified, self.brick

    def document(self) -> Mapping[str, Any]:
        """The step."""
        return {"op": "mask", "brick": self.brick, "unified": self.unified}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Add what belongs to the task to the running model."""
        refuse_restacked(artifact, self.aliases, self.place)
        refuse_masked(artifact, self.place)
        brick = ingredients.brick(self.brick)
        if brick.kind != "mask":
            message = f"`{self.brick}` is of kind {brick.kind}, and no mask"
            hint = "name a folder below masks/ of a unified model"
            raise ManifestInvalid(message, place=self.place, hint=hint)
        kind_named(brick.kind).check(brick, ingredients.base)
        check_belongs(brick, ingredients.brick(self.unified))
        merged = self._merged(artifact.root, brick, ingredients)
        root, notes = untie(artifact.root, merged)
        return dataclasses.replace(artifact, root=root, notes=(*artifact.notes, *notes))

    def _merged(self, model: LazyModel, brick: Brick, ingredients: Ingredients) -> dict[str, Node]:
        """Running model plus factor times mask times delta; a tied tensor has the mask of the one that it shares."""
        changes, ties = ingredients.changes(self.unified), ingredients.model(self.unified).ties
        merged: dict[str, Node] = {}
        for name in (*model.tensors, *model.ties):
            stored, change = bits(brick, ties.get(name, name)), changes.get(name)
            delta = None if change is None else change.delta
            merged[name] = model.node(name)
            if stored is not None and delta is not None:
                self._check_shape(name, model.node(name), delta)
                kept = multiply(delta, unpacked(stored, delta.spec.shape))
                merged[name] = add(merged[name], _times(kept, brick.contents.tensors[FACTOR]))
        return merged

    def _check_shape(self, name: str, running: Node, delta: Node) -> None:
        if running.spec.shape != delta.spec.shape:
            cause = f"`{name}` has shape {list(running.spec.shape)} by now, and {list(delta.spec.shape)} in the base"
            hint = f"let the step with `{self.brick}` be the first of its target"
            message = f"`{self.brick}` does not fit the running model"
            raise Misfit(message, causes=(cause,), place=self.place, hint=hint)


def read_mask(step: Step) -> Operation:
    """Read `{ op = "mask", brick = NAME, unified = OTHER }`.

    `unified` is what a merge with `masks = true` has built, `brick` a folder below `masks/` in it. The result is the
    running model plus l m (unified - base), with the bits m and the factor l of the mask.
    """
    table = step.table.fresh()
    for key in ("brick", "unified"):
        if not table.has(key):
            hint = 'write { op = "mask", brick = NAME, unified = OTHER }: a mask, and the model that it lies below'
            raise table.missing(f"a mask step needs `{key}`", key, hint=hint)
    brick, unified = Alias(table.string("brick")), Alias(table.string("unified"))
    table.finish()
    for key, alias in (("brick", brick), ("unified", unified)):
        if alias == BASE:
            raise table.error(
                f"`{key}` may not be the base", key=key, hint="name a brick that a merge with `masks` has written"
            )
    return Mask(brick=brick, unified=unified, place=step.place)


def _times(node: Node, factor: Node) -> Node:
    """A tensor times the one number that a file holds."""
    return Map(Spec(node.spec.dtype, node.spec.shape), Op.make("multiply", 1), (Input(node), Input(factor, Access.ALL)))


register("mask", read_mask)
