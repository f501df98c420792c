"""Stitch: a model of layers from several models, each slice of layers with a merge of its own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE, Alias
from brickctl.core.numbers import is_before_layers
from brickctl.errors import Misfit
from brickctl.operations.combine import untie
from brickctl.operations.layer_config import Origin, restack
from brickctl.operations.layered import Layered, check_layer, check_outside, choose_stack, make_of
from brickctl.operations.operation import (
    Ingredients,
    Operation,
    refuse_masked,
    refuse_restacked,
    refuse_stacked,
    register,
)
from brickctl.operations.same_tokens import same_tokens
from brickctl.operations.slice_sources import Names, SliceSources
from brickctl.operations.slices import Layers, Slice, outside_of_base, read_slice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.document import Table
    from brickctl.core.manifest import Step
    from brickctl.core.model import Artifact
    from brickctl.core.nodes import Node
    from brickctl.errors import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Stitch:
    """A stitch step: slices in the order of the result, and where what lies outside of the layers comes from."""

    slices: tuple[Slice, ...]
    before: Slice = field(default_factory=outside_of_base)
    after: Slice = field(default_factory=outside_of_base)
    stack: str | None = None
    place: Place | None = field(default=None, compare=False)

    takes_layers = True
    inputs = ()

    @property
    def parts(self) -> tuple[Slice, ...]:
        """Everything that makes tensors, in the order of the result."""
        return (self.before, *self.slices, self.after)

    @property
    def outside_aliases(self) -> tuple[Alias, ...]:
        """The bricks whose embedding or head takes part, whose rows must mean the tokens of the running model."""
        return tuple(dict.fromkeys((*self.before.aliases, *self.after.aliases)))

    @property
    def reproducible(self) -> str:
        """The weakest of the slices."""
        return "numeric" if any(part.merge.reproducible == "numeric" for part in self.parts) else "bitwise"

    @property
    def computes(self) -> bool:
        """Whether any slice does more than copy."""
        return any(part.computes for part in self.parts)

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The bricks of all slices."""
        return tuple(dict.fromkeys(alias for part in self.parts for alias in part.aliases))

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out."""
        outside = {"before": self.before.document(), "after": self.after.document()}
        stack = {} if self.stack is None else {"stack": self.stack}
        return {"op": "stitch", **stack, **outside, "slices": [part.document() for part in self.slices]}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Stitch the layers of the running model and of the bricks together."""
        refuse_masked(artifact, self.place)
        refuse_stacked(artifact, "stitch", self.place)
        stack = choose_stack(artifact.root, self.stack, self.place)
        return _Stitching(self, artifact, ingredients, stack).artifact()


class _Stitching:
    """A stitch of one running model, while it is put together."""

    def __init__(self, stitch: Stitch, artifact: Artifact, ingredients: Ingredients, stack: str) -> None:
        self._stitch = stitch
        self._artifact = artifact
        self._ingredients = ingredients
        self._running = Layered(BASE, artifact.root, stack, stitch.place)
        self._models = {alias: self._model(alias) for alias in dict.fromkeys((BASE, *stitch.aliases))}

    def _model(self, alias: Alias) -> Layered:
        if alias == BASE:
            return self._running
        place = self._ingredients.brick(alias).required_by
        return Layered(alias, self._ingredients.model(alias), self._running.stack, place)

    def artifact(self) -> Artifact:
        """The artifact with the new model."""
        root, count = self._artifact.root, len(self._running.layers)
        origins = [origin for part in self._stitch.slices for origin in self._origins(part)]
        moved = len(origins) != count or any(one.number != at for at, layer in enumerate(origins) for one in layer)
        own, stack = Origin(BASE, root.config, 0, count), self._running.stack
        uniform = all(make_of(layer) == make_of(self._running.layers[0]) for layer in self._running.layers)
        config, notes = restack(own, origins, stack, uniform=uniform, moved=moved, place=self._stitch.place)
        merged = self._merged()
        tensors = {name: node for name, node in merged.items() if name not in root.ties}
        source = root.source_config if config == root.config else None
        model = dataclasses.replace(root, tensors=tensors, config=config, source_config=source)
        model, more = untie(model, merged)
        restacked = moved or self._artifact.restacked
        told = same_tokens(root, self._ingredients, self._stitch.outside_aliases)
        notes = (*self._artifact.notes, *notes, *told, *more)
        return dataclasses.replace(self._artifact, root=model, notes=notes, restacked=restacked)

    def _origins(self, part: Slice) -> Iterator[tuple[Origin, ...]]:
        """Where each layer of a slice comes from, checked: all of one make, and of a make that the base has.

        Raises:
            Misfit: a layer that does not exist, or does not fit.
        """
        for alias, layers in part.layers.items():
            self._check_range(alias, layers, part.place)
        if part.is_delta:
            refuse_restacked(self._artifact, part.merge.aliases, part.place)
        for offset in range(part.count):
            numbers = [(self._models[alias], layers.first + offset) for alias, layers in part.layers.items()]
            lead, number = numbers[0]
            self._check_make(lead, number, part.place)
            for model, other in numbers[1:]:
                check_layer(other, model, number, lead, part.place)
            yield tuple(Origin(one.owner, one.model.config, at, len(one.layers)) for one, at in numbers)

    def _check_range(self, alias: Alias, layers: Layers, place: Place | None) -> None:
        count = len(self._models[alias].layers)
        if layers.end > count:
            cause = f"`layers = {layers}` asks for layer {layers.end - 1}; `{alias}` has {count}, from 0 to {count - 1}"
            raise Misfit(f"`{alias}` has no such layer", causes=(cause,), place=place)

    def _check_make(self, model: Layered, number: int, place: Place | None) -> None:
        """Make sure that the running model has some layer like this one: its configuration then speaks of it."""
        like = min(number, len(self._running.layers) - 1)
        wanted = make_of(model.layers[number])
        if make_of(self._running.layers[like]) != wanted and wanted not in map(make_of, self._running.layers):
            check_layer(number, model, like, self._running, place)

    def _merged(self) -> dict[str, Node]:
        """The node of every tensor, in the order in which they are written; tied ones under their own names."""
        before, after = self._outside()
        layers = list(self._layers())
        names = [name for sources in (before, *layers, after) for name in next(iter(sources.values()))]
        merged: dict[str, Node] = {}
        for part, sources in zip(self._stitch.parts, (before, *layers, after), strict=True):
            part.merge.check_numbers(names)
            merged |= self._combined(part, sources)
        return merged

    def _outside(self) -> tuple[Names, Names]:
        """What comes before the layers and what after, each for its bricks; tied tensors where those they share are."""
        root, stitch = self._running.model, self._stitch
        early = {name: is_before_layers(root.ties.get(name, name)) for name in self._running.outside}
        before = tuple(name for name in early if early[name])
        after = tuple(name for name in early if not early[name])
        return self._unmoved(stitch.before, before), self._unmoved(stitch.after, after)

    def _unmoved(self, part: Slice, names: tuple[str, ...]) -> Names:
        aliases = dict.fromkeys((BASE, *part.aliases))
        for alias in aliases:
            check_outside(self._models[alias], self._running, names, part.place)
        return {alias: {name: name for name in names} for alias in aliases}

    def _layers(self) -> Iterator[Names]:
        """For each slice the names of its tensors in the result, and in each of its models."""
        start = 0
        for part in self._stitch.slices:
            yield {alias: dict(self._renamed(alias, layers, start)) for alias, layers in part.layers.items()}
            start += part.count

    def _renamed(self, alias: Alias, layers: Layers, start: int) -> Iterator[tuple[str, str]]:
        model = self._models[alias]
        for offset in range(len(layers)):
            for rest in model.layers[layers.first + offset]:
                yield model.name(start + offset, rest), model.name(layers.first + offset, rest)

    def _combined(self, part: Slice, names: Names) -> dict[str, Node]:
        sources = SliceSources(self._ingredients, self._models, names, is_delta=part.is_delta)
        return part.merge.combine(sources.running, sources)


def read_stitch(step: Step) -> Operation:
    """Read `{ op = "stitch", slices = [SLICES], before = OUTSIDE, after = OUTSIDE, stack = NAME }`.

    A slice is a table of one of two forms:

    - `{ brick = NAME, layers = [FIRST, END], scale = 1.0 }`: layers of one brick, or of `base`, the running model;
    - `{ method = ..., layers = [FIRST, END], bricks = ..., and the method's parameters }`: a merge of as many layers of
      each brick, which `bricks = [{ brick = NAME, layers = [FIRST, END] }]` may take from other places. In delta space
      `base`, listed or not, has the layers that the deltas are relative to and are added to.

    Layers are counted from 0, up to and without the end. `before` (embeddings) and `after` (final norm, untied head)
    are such tables without `layers`; what is not said is that of the running model. `stack` is needed where a model
    has several stacks of layers: what their names have before the number, such as `model.layers`.
    """
    table = step.table.fresh()
    slices = tuple(read_slice(entry) for entry in table.tables_or_none("slices") or ())
    outside = {key: _read_outside(table, key) for key in ("before", "after")}
    stack = table.string_or_none("stack")
    table.finish()
    if not slices:
        hint = 'write slices = [{ brick = "base", layers = [0, 8] }, ...]'
        raise table.missing("a stitch needs `slices`", "slices", hint=hint)
    return Stitch(slices=slices, **outside, stack=stack, place=step.place)


def _read_outside(table: Table, key: str) -> Slice:
    inner = table.table_or_none(key)
    return outside_of_base() if inner is None else read_slice(inner, outside=True)


register("stitch", read_stitch)
