"""The tensors of a merge: which bricks take part in which tensor, with which weight, and what comes out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE, Alias
from brickctl.core.numbers import Number, depth_of, layer_of, stack_of
from brickctl.errors import ManifestInvalid
from brickctl.merging.method import Declared, combine
from brickctl.tensors.arithmetic import add

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.operations.operation import Ingredients


@dataclass(frozen=True, slots=True)
class Entry:
    """One brick of a merge and its weight."""

    alias: Alias
    weight: Number


@dataclass(frozen=True, slots=True)
class Combination:
    """A method with its parameters, and bricks with their weights, in the order of the arithmetic."""

    method: Declared
    parameters: Any
    entries: Sequence[Entry]
    place: Place | None

    def combine_models(self, model: LazyModel, ingredients: Ingredients) -> dict[str, Node]:
        """The node of every tensor after the merge, tied ones under their own names.

        Raises:
            Misfit, Unsupported: a brick does not fit.
            ManifestInvalid: the weights of a tensor have no result.
        """
        depths = Depths(model)
        in_space = self._in_delta_space if self.method.space == "delta" else self._in_weight_space
        merged: dict[str, Node] = {}
        for name in (*model.tensors, *model.ties):
            weighted = [(entry.alias, depths.weight(entry, name)) for entry in self.entries]
            taking_part = [(alias, weight) for alias, weight in weighted if weight != 0.0]
            merged[name] = in_space(name, model.node(name), ingredients, taking_part)
        return {**merged, **self._added(model, ingredients)}

    def _added(self, model: LazyModel, ingredients: Ingredients) -> dict[str, Node]:
        """Tensors that a brick adds to the model; there is nothing to weigh them against, so its weight must be 1."""
        added: dict[str, Node] = {}
        for entry in self.entries:
            for name, change in ingredients.changes(entry.alias).items() if entry.alias != BASE else ():
                if name in model.tensors or name in model.ties or change.tuned is None or change.delta is not None:
                    continue
                if name in added or self.method.space != "delta" or entry.weight.at(name, 0.0) != 1.0:
                    message = f"`{entry.alias}` adds `{name}` to the model, which can neither be weighed nor averaged"
                    hint = f'add it with weight 1, in one brick: method = "task_arithmetic", {entry.alias} = 1.0'
                    raise ManifestInvalid(message, place=self.place, hint=hint)
                added[name] = change.tuned
        return added

    def _in_delta_space(
        self, name: str, running: Node, ingredients: Ingredients, entries: Sequence[tuple[Alias, float]]
    ) -> Node:
        """Running model plus the combined deltas of the bricks that change this tensor; untouched where none does."""
        found = [(ingredients.changes(alias).get(name), weight) for alias, weight in entries]
        deltas = [(change.delta, weight) for change, weight in found if change is not None and change.delta is not None]
        if not deltas:
            return running
        return add(running, self._combined(name, [delta for delta, _ in deltas], [weight for _, weight in deltas]))

    def _in_weight_space(
        self, name: str, running: Node, ingredients: Ingredients, entries: Sequence[tuple[Alias, float]]
    ) -> Node:
        """The combined tensors of whole models; `base` stands for the running model."""
        if not running.spec.dtype.is_mergeable:
            return running
        inputs = [running if alias == BASE else _tuned(name, ingredients, alias) for alias, _ in entries]
        return self._combined(name, inputs, [weight for _, weight in entries])

    def _combined(self, name: str, inputs: Sequence[Node], weights: Sequence[float]) -> Node:
        reason = self.parameters.refusal(weights)
        if reason is None and not inputs:
            reason = "every weight is 0, so no model takes part"
        if reason is not None:
            message = f"`{self.method.name}` has no result for `{name}`"
            raise ManifestInvalid(message, causes=(reason,), place=self.place)
        return combine(self.method, self.parameters, inputs, weights)


def _tuned(name: str, ingredients: Ingredients, alias: Alias) -> Node:
    change = ingredients.changes(alias).get(name)
    base = ingredients.base.node(name)
    return base if change is None else change.model(base)


class Depths:
    """Where each tensor of a model lies, counted per stack of layers (a model may have several towers)."""

    def __init__(self, model: LazyModel) -> None:
        self._ties = dict(model.ties)
        self._layers: dict[str, int] = {}
        for name in model.tensors:
            layer = layer_of(name)
            if layer is not None:
                stack = stack_of(name)
                self._layers[stack] = max(self._layers.get(stack, 0), layer + 1)

    def weight(self, entry: Entry, name: str) -> float:
        """The weight of a brick in one tensor; a tied head has that of the tensor it shares."""
        name = self._ties.get(name, name)
        layer = layer_of(name)
        layers = 1 if layer is None else self._layers[stack_of(name)]
        weight = entry.weight.at(name, depth_of(name, layers))
        if weight is None:  # `check_number` has seen every name
            raise ManifestInvalid(f"the weight of `{entry.alias}` says nothing about `{name}`")
        return weight


def untie(model: LazyModel, merged: dict[str, Node]) -> tuple[LazyModel, tuple[str, ...]]:
    """The model with its merged tensors: a tied tensor that became different gets bytes of its own."""
    added = [name for name in merged if name not in model.tensors and name not in model.ties]
    names = ", ".join(f"`{name}`" for name in added[:3]) + (", ..." if len(added) > 3 else "")  # noqa: PLR2004
    notes = (f"{names} were added: config.json must name a model class that has them",) if added else ()
    parted = [name for name, source in model.ties.items() if merged[name] != merged[source]]
    if not parted:
        kept = {name: merged[name] for name in (*model.tensors, *added)}
        return dataclasses.replace(model, tensors=kept), notes
    tensors = {name: merged[name] for name in (*model.tensors, *parted, *added)}
    ties = {name: source for name, source in model.ties.items() if name not in parted}
    config = _untied(model.config)
    apart = ", ".join(f"`{name}`" for name in parted)
    note = f"{apart} shared the embedding's weights and no longer does: a brick changes one of the two only"
    return dataclasses.replace(model, tensors=tensors, ties=ties, config=config, source_config=None), (note, *notes)


def _untied(config: Any) -> dict[str, Any]:
    """The configuration that says so, wherever it said the opposite."""
    changed = {**config, "tie_word_embeddings": False}
    if isinstance(config.get("text_config"), dict):
        changed["text_config"] = {**config["text_config"], "tie_word_embeddings": False}
    return changed
