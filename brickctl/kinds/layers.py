"""Layers: a range of the blocks of a model, under their own names, with the configuration of that model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import Table, shown
from brickctl.core.numbers import split_layer
from brickctl.errors import Misfit, asked_for
from brickctl.kinds.expert import is_buffer
from brickctl.kinds.kind import Changes, is_described_by, register, tuned_model
from brickctl.kinds.module import laid_over

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node

FILE = "layers_config.json"
FORMAT = "brickctl-layers-1"

_DAMAGED = "the file is damaged, or was written by something else; extract it again"


@dataclass(frozen=True, slots=True)
class Blocks:
    """Layers `first` up to, and without, `end` of the layers that are called `stack`, such as `model.layers`."""

    stack: str
    first: int
    end: int

    def of(self, model: LazyModel) -> Mapping[str, Node]:
        """The tensors of a model that lie in these layers, without buffers that it computes for itself."""
        inside = ((name, node) for name, node in model.tensors.items() if self.has(name))
        return {name: node for name, node in inside if node.spec.dtype.is_mergeable or not is_buffer(name, node.spec)}

    def has(self, name: str) -> bool:
        """Whether a tensor of this name lies in one of these layers."""
        found = split_layer(name)
        return found is not None and found[0] == self.stack and self.first <= found[1] < self.end

    def document(self, model: LazyModel) -> Mapping[str, Any]:
        """`layers_config.json` of these layers of a model."""
        config = {"layers": [self.first, self.end], "stack": self.stack}
        return {"format": FORMAT, **config, "model": dict(model.config)}


class LayersKind:
    """All tensors of some layers, which take the place of those of the base."""

    name = "layers"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """`layers_config.json` is there, and no model's and no adapter's configuration."""
        return is_described_by(FILE, contents)

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - any base of this shape will do
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """Which layers they are, of a model of which architecture, and how many parameters."""
        document = contents.documents[FILE]
        model = document.get("model")
        names = model.get("architectures") if isinstance(model, dict) else None
        return {
            "layers": sorted({found[1] for name in contents.tensors if (found := split_layer(name)) is not None}),
            "architecture": shown(names[0]) if isinstance(names, list) and names else None,
            "parameters": sum(tensor.spec.elements for tensor in contents.tensors.values()),
        }

    def check(self, brick: Brick, base: LazyModel) -> None:
        """It fits where it can be merged."""
        self.changes(brick, base)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:
        """Laid over the same layers of the base, tensor for tensor."""
        with asked_for(brick.required_by):
            _check_names(brick, _read_config(brick), base)
            found = {name: laid_over(brick, name, tensor, base) for name, tensor in brick.contents.tensors.items()}
        return {name: change for name, change in found.items() if change.tuned != base.node(name)}

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """The base with these layers instead of its own."""
        return tuned_model(base, self.changes(brick, base))


def _read_config(brick: Brick) -> Blocks:
    """Which layers the configuration says that it has.

    Raises:
        Misfit: it says something that this brickctl does not know.
    """
    table = Table(brick.contents.documents[FILE], file=f"{FILE} of `{brick.name}`", fault=Misfit)
    if table.string("format") != FORMAT:
        found = shown(table.take("format"))
        raise table.error(f"{table.file} has the format `{found}`; this brickctl reads `{FORMAT}`", hint=_DAMAGED)
    layers, stack = table.take("layers"), table.string("stack")
    are_two = isinstance(layers, list) and len(layers) == 2 and all(type(one) is int for one in layers)  # noqa: PLR2004
    if not are_two or not 0 <= layers[0] < layers[1]:
        raise table.error(f"{table.named('layers')} must be [FIRST, END]", hint=_DAMAGED)
    table.table_or_none("model")  # whatever an architecture needs
    table.finish()
    return Blocks(stack, *layers)


def _check_names(brick: Brick, blocks: Blocks, base: LazyModel) -> None:
    """Each of the layers must be there whole, and nothing else: half a layer works with no other half.

    Raises:
        Misfit: the base has other tensors in them, or none.
    """
    needed, there = blocks.of(base), brick.contents.tensors
    strange = next((name for name in there if name not in needed), None)
    lacking = next((name for name in needed if name not in there), None)
    if strange is not None:
        cause = (
            f"it has `{shown(strange)}`, which is in none of the layers {blocks.first} to {blocks.end - 1} of the base"
        )
    elif lacking is not None:
        cause = f"the base has `{lacking}` and it does not"
    else:
        return
    hint = "set [base] to a model of the same layers as the one that it was extracted from"
    raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), hint=hint)


register(LayersKind())
