"""`op = "extract-layers"`: a range of the blocks of a model, as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.derivations.storing import WEIGHTS, as_built
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.layers import FILE, Blocks
from brickctl.operations.layered import Layered, choose_stack
from brickctl.operations.slices import Layers, read_layers
from brickctl.tensors.tensor_file import new_tensor_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.manifest import Derived
    from brickctl.core.model import LazyModel
    from brickctl.derivations.derivation import Bench
    from brickctl.errors import Place

_LABEL = "extracting"
_EXAMPLE = "write layers = [4, 8]: layers are counted from 0, and 8 is the first that is left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractLayers:
    """Some layers of the `stack` of that name, which a model with one stack need not be told."""

    layers: Layers
    stack: str | None = None
    place: Place | None = field(default=None, compare=False)

    kind = "layers"
    version = 1
    aliases = ()
    inputs = ()
    tolerance = Tolerance()

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        return {"op": "extract-layers", "layers": [self.layers.first, self.layers.end], "stack": self.stack}

    def make(self, bench: Bench) -> Findings:
        """Store the tensors of the layers under their own names."""
        blocks = self._blocks(bench.start)
        found = blocks.of(bench.start)
        bench.events.start(_LABEL, sum(node.spec.bytes for node in found.values()))
        with new_tensor_file(bench.folder / WEIGHTS) as file:
            for name, node in found.items():
                if not node.spec.dtype.is_mergeable:
                    raise self._quantised(name, node.spec.dtype.code)
                file.add(name, bench.tensor(as_built(name, bench.start, bench.ingredients.base)))
                bench.events.advance(_LABEL, node.spec.bytes)
        bench.events.finish(_LABEL)
        (bench.folder / FILE).write_bytes(readable_json(blocks.document(bench.start)))
        return Findings(rows=tuple(_rows(blocks, bench.start)))

    def _blocks(self, model: LazyModel) -> Blocks:
        """The layers, which the model must have.

        Raises:
            Misfit: it has fewer.
        """
        stack = choose_stack(model, self.stack, self.place)
        count = len(Layered("the model", model, stack, self.place).layers)
        if self.layers.end > count:
            cause = f"`layers = {self.layers}` asks for layer {self.layers.end - 1}; it has {count}"
            raise Misfit("the model has no such layer", causes=(cause,), place=self.place, hint=_EXAMPLE)
        return Blocks(stack, self.layers.first, self.layers.end)

    def _quantised(self, name: str, code: str) -> Unsupported:
        cause, hint = f"`{name}` is stored as {code}", "use the bf16 or fp32 release of the model"
        return Unsupported("layers of quantised weights are no brick", causes=(cause,), place=self.place, hint=hint)


def _rows(blocks: Blocks, model: LazyModel) -> list[Mapping[str, Any]]:
    """What was taken of each layer."""
    each = [Blocks(blocks.stack, layer, layer + 1) for layer in range(blocks.first, blocks.end)]
    nodes = [(one.first, one.of(model).values()) for one in each]
    return [
        {"layer": layer, "tensors": len(found), "parameters": sum(node.spec.elements for node in found)}
        for layer, found in nodes
    ]


def read_extract_layers(derived: Derived) -> ExtractLayers:
    """Read `{ op = "extract-layers", from = NAME, layers = [4, 8] }`: layers 4 to 7.

    `stack` says which layers are meant, where a model has several.

    Raises:
        ManifestInvalid: no range of layers.
    """
    table = derived.table.fresh()
    layers, stack = read_layers(table), table.string_or_none("stack")
    if layers is None:
        raise table.missing(f"{table.where} has no `layers`", "layers", hint=_EXAMPLE)
    table.finish()
    return ExtractLayers(layers=layers, stack=stack, place=derived.place)


register("extract-layers", read_extract_layers)
