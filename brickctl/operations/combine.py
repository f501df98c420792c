"""The tensors of a merge: which bricks take part in which tensor, with which weight, and what comes out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE, Alias
from brickctl.core.numbers import depth_of, layer_of, stack_of
from brickctl.core.parameters import each_of
from brickctl.errors import ManifestInvalid
from brickctl.merging.method import Part, combine
from brickctl.tensors.arithmetic import add, zeros

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.core.numbers import Number
    from brickctl.core.parameters import Chosen
    from brickctl.errors import Place
    from brickctl.merging.method import Declared, MergeMethod
    from brickctl.operations.operation import Sources


@dataclass(frozen=True, slots=True)
class Entry:
    """One brick of a merge, its weight, and what it has for itself of the method's parameters.

    `statistics` is the brick that says of this one what the method asks for.
    """

    alias: Alias
    weight: Number
    settings: Mapping[str, Number] = field(default_factory=dict)
    statistics: Alias | None = None

    def numbers(self) -> Iterator[tuple[str, Number]]:
        """Everything that may depend on the tensor, with what messages call it."""
        yield f"the weight of `{self.alias}`", self.weight
        yield from ((f"`{name}` of `{self.alias}`", number) for name, number in self.settings.items())


@dataclass(frozen=True, slots=True)
class Combination:
    """A method with its parameters, and bricks with their weights, in the order of the arithmetic.

    `ties` are those of the model: a tied tensor draws the random masks of the one that it shares.
    """

    chosen: Chosen[MergeMethod]
    entries: Sequence[Entry]
    place: Place | None
    ties: Mapping[str, str]

    @property
    def declared(self) -> Declared:
        """What the method declares."""
        return self.chosen.declared.declared

    def combine_models(self, model: LazyModel, ingredients: Sources) -> dict[str, Node]:
        """The node of every tensor after the merge, tied ones under their own names.

        Raises:
            Misfit, Unsupported: a brick does not fit.
            ManifestInvalid: the weights of a tensor have no result.
        """
        depths = Depths(model)
        merged: dict[str, Node] = {}
        for name in (*model.tensors, *model.ties):
            method = depths.method(self.chosen, name)
            in_space = self._in_delta_space if method.space == "delta" else self._in_weight_space
            merged[name] = in_space(method, name, model.node(name), ingredients, self._shares(depths, name))
        return {**merged, **self._added(model, ingredients)}

    def deltas(self, depths: Depths, name: str, ingredients: Sources) -> Mapping[Alias, Part]:
        """What each brick that takes part in a tensor brings to it, in delta space."""
        return self._deltas(name, ingredients, self._shares(depths, name))

    def _shares(self, depths: Depths, name: str) -> Shares:
        shares = [(entry.alias, self._share(depths, entry, name)) for entry in self.entries]
        return [(alias, share) for alias, share in shares if share is not None]

    def _share(self, depths: Depths, entry: Entry, name: str) -> Share | None:
        """With what a brick takes part in a tensor; None where its weight is 0."""
        weight = depths.number(entry.weight, name)
        if weight == 0.0:
            return None
        numbers = {key: entry.settings.get(key, self.chosen.numbers[key]) for key in each_of(self.chosen.declared)}
        return Share(weight, {key: depths.number(number, name) for key, number in numbers.items()})

    def _added(self, model: LazyModel, ingredients: Sources) -> dict[str, Node]:
        """Tensors that a brick adds to the model; there is nothing to weigh them against, so its weight must be 1."""
        added: dict[str, Node] = {}
        for entry in self.entries:
            for name, change in ingredients.changes(entry.alias).items() if entry.alias != BASE else ():
                if name in model.tensors or name in model.ties or change.tuned is None or change.delta is not None:
                    continue
                if name in added or self.declared.space != "delta" or entry.weight.at(name, 0.0) != 1.0:
                    message = f"`{entry.alias}` adds `{name}` to the model, which can neither be weighed nor averaged"
                    hint = f'add it with weight 1, in one brick: method = "task_arithmetic", {entry.alias} = 1.0'
                    raise ManifestInvalid(message, place=self.place, hint=hint)
                added[name] = change.tuned
        return added

    def _in_delta_space(
        self, method: MergeMethod, name: str, running: Node, ingredients: Sources, shares: Shares
    ) -> Node:
        """Running model plus the combined deltas of the bricks that change this tensor; untouched where none does."""
        deltas = self._deltas(name, ingredients, shares)
        return add(running, self._combined(method, name, list(deltas.values()))) if deltas else running

    def _deltas(self, name: str, ingredients: Sources, shares: Shares) -> Mapping[Alias, Part]:
        found = [(alias, share, ingredients.changes(alias).get(name)) for alias, share in shares]
        deltas = [(alias, share, change.delta) for alias, share, change in found if change is not None and change.delta]
        if deltas and self.declared.complete:
            nothing = zeros(deltas[0][2])
            deltas = [(alias, share, (change and change.delta) or nothing) for alias, share, change in found]
        base = ingredients.base.node(name) if deltas else None
        return {alias: _part(ingredients, alias, share, delta, base) for alias, share, delta in deltas}

    def _in_weight_space(
        self, method: MergeMethod, name: str, running: Node, ingredients: Sources, shares: Shares
    ) -> Node:
        """The combined tensors of whole models; `base` stands for the running model."""
        if not running.spec.dtype.is_mergeable:
            return running
        parts = [
            _part(ingredients, alias, share, running if alias == BASE else _tuned(name, ingredients, alias))
            for alias, share in shares
        ]
        known = self._statistics(name, ingredients, [alias for alias, _ in shares])
        parts = [dataclasses.replace(part, statistic=one) for part, one in zip(parts, known, strict=True)]
        return self._combined(method, name, parts)

    def _statistics(self, name: str, ingredients: Sources, aliases: Sequence[Alias]) -> Sequence[Node | None]:
        """What the method asks for of a tensor, for each of these bricks; a tied one has that of the one it shares."""
        bricks = {entry.alias: entry.statistics for entry in self.entries if entry.statistics is not None}
        found: dict[Alias, Node | None] = {}
        for alias in aliases:
            tensors = ingredients.brick(bricks[alias]).contents.tensors if alias in bricks else {}
            found[alias] = tensors.get(name, tensors.get(self.ties.get(name, name)))
        absent = [alias for alias, node in found.items() if node is None]
        if absent and len(absent) < len(found):
            there = next(bricks[alias] for alias in found if alias not in absent)
            message = f"`{bricks[absent[0]]}` says nothing of `{name}`, and `{there}` does"
            causes, hint = self._why_nothing(name, ingredients, absent[0])
            raise ManifestInvalid(message, causes=causes, place=self.place, hint=hint)
        return list(found.values())

    def _why_nothing(self, name: str, ingredients: Sources, alias: Alias) -> tuple[tuple[str, ...], str]:
        """Causes and hint where statistics of a brick lack a tensor: of one that is tied, nobody can derive them."""
        own = _tuned(name, ingredients, alias)
        others = (other for other in ingredients.base.tensors if other != name)
        tied = next((other for other in others if _tuned(other, ingredients, alias) == own), None)
        if tied is None:
            return (), "derive both statistics in the same way"
        cause = f"`{alias}` ties it to `{tied}`, and of a tied tensor there is no statistic `{self.declared.statistic}`"
        weight = f'weight = [{{ filter = "{self.ties.get(name, name)}", value = 0 }}, {{ value = 1 }}]'
        return (cause,), f"merge by a method without statistics, or write for `{alias}`: {weight}"

    def _combined(self, method: MergeMethod, name: str, parts: Sequence[Part]) -> Node:
        reason = method.refusal([part.weight for part in parts])
        if reason is None and not parts:
            reason = "every weight is 0, so no model takes part"
        if reason is not None:
            message = f"`{self.declared.name}` has no result for `{name}`"
            raise ManifestInvalid(message, causes=(reason,), place=self.place)
        return combine(method, parts, self.ties.get(name, name))


@dataclass(frozen=True, slots=True)
class Share:
    """With what a brick takes part in one tensor."""

    weight: float
    settings: Mapping[str, float]


Shares = list[tuple[Alias, Share]]


def _part(ingredients: Sources, alias: Alias, share: Share, node: Node, base: Node | None = None) -> Part:
    digest = ingredients.brick(alias).digest
    return Part(node=node, weight=share.weight, settings=share.settings, brick=digest, base=base)


def _tuned(name: str, ingredients: Sources, alias: Alias) -> Node:
    change = None if alias == BASE else ingredients.changes(alias).get(name)
    base = ingredients.base.node(name)
    return base if change is None else change.model(base)


class Depths:
    """Where each tensor of a model lies, counted per stack of layers (a model may have several towers).

    A slice of layers is a model too, and begins with whatever number its first layer has.
    """

    def __init__(self, model: LazyModel) -> None:
        self._ties = dict(model.ties)
        self._layers: dict[str, tuple[int, int]] = {}
        for name in model.tensors:
            layer = layer_of(name)
            if layer is not None:
                first, last = self._layers.get(stack_of(name), (layer, layer))
                self._layers[stack_of(name)] = min(first, layer), max(last, layer)

    def number(self, number: Number, name: str) -> float:
        """A number in one tensor; a tied head has that of the tensor it shares."""
        value = number.at(self._ties.get(name, name), self._depth(name))
        if value is None:  # `check_number` has seen every name
            raise ManifestInvalid(f"a number says nothing about `{name}`")
        return value

    def method(self, chosen: Chosen[MergeMethod], name: str) -> MergeMethod:
        """The method with its parameters in one tensor."""
        return chosen.at(self._ties.get(name, name), self._depth(name))

    def _depth(self, name: str) -> float:
        name = self._ties.get(name, name)
        layer = layer_of(name)
        if layer is None:
            return depth_of(name, 1)
        first, last = self._layers[stack_of(name)]
        return 0.0 if first == last else (layer - first) / (last - first)


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
