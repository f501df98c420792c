"""The bricks of one slice, their tensors under the names that these get in the result: what a merge is made of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias
from brickctl.kinds.expert import refuse_packed
from brickctl.kinds.kind import Change, Changes
from brickctl.tensors.arithmetic import subtract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.operations.layered import Layered
    from brickctl.operations.operation import Ingredients

_EXPERT = "expert"
"""The one kind that is a whole model, with layers of its own."""

Names = dict[Alias, dict[str, str]]
"""For each brick of a slice: names in the result -> names in its model; all have the same names in the result."""


class SliceSources:
    """The `Sources` of one slice.

    Attributes:
        running: the tensors of the running model, or, where that takes no part, of the first brick.
        base: what deltas are relative to: tensors of the base, of the same numbers as those of the running model.
    """

    def __init__(
        self, ingredients: Ingredients, models: Mapping[Alias, Layered], names: Names, *, is_delta: bool
    ) -> None:
        self._ingredients = ingredients
        self._models = models
        self._names = names
        self._is_delta = is_delta
        self._changes: dict[Alias, Changes] = {}
        lead = BASE if BASE in names else next(iter(names))
        self.running = _view(models[lead].model, names[lead])
        self.base = _view(ingredients.base, names[lead]) if is_delta else self.running

    def brick(self, alias: Alias) -> Brick:
        """The brick of that alias, or the base."""
        return self._ingredients.brick(alias)

    def changes(self, alias: Alias) -> Changes:
        """The tensors of the whole model that the brick stands for, with their deltas where those are asked for."""
        if alias not in self._changes:
            change = self._delta if self._is_delta else self._whole
            found = {name: change(alias, name, source) for name, source in self._names[alias].items()}
            self._changes[alias] = {name: change for name, change in found.items() if change is not None}
        return self._changes[alias]

    def _whole(self, alias: Alias, name: str, source: str) -> Change | None:
        node = self._models[alias].model.node(source)
        self._refuse_packed(alias, source, node, self.running.node(name))
        return Change(None, node)

    def _delta(self, alias: Alias, name: str, source: str) -> Change | None:
        """Tuned minus base; of an adapter upon the same layer the product of its factors, as in a merge."""
        is_expert = self._ingredients.brick(alias).kind == _EXPERT
        if self._names[BASE][name] == source and not is_expert:
            return self._ingredients.changes(alias).get(source)
        tuned, base = self._models[alias].model.node(source), self.base.node(name)
        self._refuse_packed(alias, source, tuned, base)
        if tuned == base or not tuned.spec.dtype.is_mergeable:
            return None
        return Change(subtract(tuned, base), tuned)

    def _refuse_packed(self, alias: Alias, source: str, node: Node, other: Node) -> None:
        """Refuse to merge what is no plain number, and not the same in both: one of the two would be passed over."""
        if node != other and not (node.spec.dtype.is_mergeable and other.spec.dtype.is_mergeable):
            refuse_packed(self.brick(alias), source, node, other)


def _view(model: LazyModel, names: Mapping[str, str]) -> LazyModel:
    """These tensors of a model under other names; a tie stays one where both of its tensors are among them."""
    ties = {
        name: shared for name, shared in model.ties.items() if names.get(name) == name and names.get(shared) == shared
    }
    tensors = {name: model.node(source) for name, source in names.items() if name not in ties}
    return dataclasses.replace(model, tensors=tensors, ties=ties)
