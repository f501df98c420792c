"""Grow width: copies of neurons, or of all channels between blocks, that together say what one said before."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.rows import RowMap
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.operations.dense_ffns import (
    INNER_BIASES,
    PARTS,
    refuse_mixture,
    refuse_other_parts,
    refuse_quantised,
    width_of,
    with_width,
)
from brickctl.operations.operation import Ingredients, Operation, refuse_masked, refuse_stacked, register
from brickctl.operations.wide_channels import widen_channels
from brickctl.tensors.arithmetic import add, cast, multiply
from brickctl.tensors.draws import stream_key
from brickctl.tensors.uniform import uniform
from brickctl.tensors.views import gather_rows
from brickctl.tensors.widened import Widening, copied_rows, widen_columns, widen_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core import manifest
    from brickctl.core.document import Table
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node
    from brickctl.errors import Place

_MOST = 1 << 18
"""Neurons or channels: more than any model has, and few enough for a table of them."""

_CANNOT = "grow-width cannot make this model wider"
_ROUNDED = {DType.BF16: 2.0**-8, DType.F16: 2.0**-11}
"""Changes of a number by less than about this share of it are mostly lost when it is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowWidth:
    """A step that makes FFNs `neurons` wide, or what passes between blocks `hidden` wide, or both."""

    neurons: int | None
    hidden: int | None
    seed: int
    noise: float
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"
    computes = True
    takes_layers = False
    inputs = ()
    aliases = ()

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out."""
        widths = {"neurons": self.neurons, "hidden": self.hidden}
        asked = {key: width for key, width in widths.items() if width is not None}
        chance = {"seed": self.seed, "noise": self.noise}
        return {"op": "grow-width", **asked, **({} if self.neurons is None else chance)}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:  # noqa: ARG002 - only the running model counts
        """Copy neurons and channels."""
        refuse_masked(artifact, self.place)
        refuse_stacked(artifact, "grow", self.place)
        refuse_mixture(artifact.root.config, "grow", self.place)
        refuse_quantised(artifact.root, self.place)
        model, notes = artifact.root, artifact.notes
        if self.neurons is not None:
            model, more = self._wider(model, self.neurons)
            notes = (*notes, *more)
        if self.hidden is not None:
            model, more = widen_channels(model, self.hidden, self.place)
            notes = (*notes, *more)
        return dataclasses.replace(artifact, root=model, notes=notes, regrouped=True)

    def _wider(self, model: LazyModel, neurons: int) -> tuple[LazyModel, tuple[str, ...]]:
        """The model with FFNs of so many neurons, and what the user should know."""
        modules = ffns(model)
        if not modules:
            cause = "no FFN of it has `gate_proj`, `up_proj` and `down_proj`"
            raise Unsupported(_CANNOT, causes=(cause,), place=self.place)
        refuse_other_parts(model, modules, _CANNOT, self.place)
        before = width_of(modules, self.place)
        if neurons <= before:
            cause = f"each FFN has {before}, and `neurons` is how many it has afterwards"
            hint = "a `prune` makes a model narrower"
            raise Misfit("the model has as many neurons already", causes=(cause,), place=self.place, hint=hint)
        widening = Widening(before, neurons)
        config = with_width(model.config, before, neurons, self.place)
        made = {name: node for ffn in modules for name, node in self._ffn(model, ffn, widening)}
        wider = dataclasses.replace(model, tensors={**model.tensors, **made}, config=config, source_config=None)
        dtypes = [model.tensors[f"{ffn.path}.{part}"].spec.dtype for ffn in modules for part in PARTS]
        return wider, tuple(self._notes(widening, dtypes))

    def _ffn(self, model: LazyModel, ffn: Ffn, widening: Widening) -> Iterator[tuple[str, Node]]:
        """The tensors of one FFN that change: the bias of its output does not."""
        gate, up, down = (f"{ffn.path}.{part}" for part in PARTS)
        for name in (gate, up):
            yield name, self._incoming(name, model.tensors[name], widening)
        yield down, widen_columns(model.tensors[down], widening, shared=True)
        for bias in (f"{ffn.path}.{part}" for part in INNER_BIASES):
            node = model.tensors.get(bias)
            if node is not None and node.spec.shape != (widening.before,):
                cause = f"`{bias}` has shape {list(node.spec.shape)}, and not [{widening.before}]"
                raise Unsupported(_CANNOT, causes=(cause,), place=self.place)
            if node is not None:
                yield bias, widen_columns(node, widening, shared=False)

    def _incoming(self, name: str, node: Node, widening: Widening) -> Node:
        """A matrix (neurons, hidden) with the rows of the copies below it, each weight w of which is w + w u.

        u is uniform between -noise and noise, and w stays w where there is none. The width before is part of what is
        drawn by: a second step would else move its copies as the first one did, and some would be equal to those.
        """
        if not self.noise:
            return widen_rows(node, widening)
        copies = copied_rows(node, widening)
        stream = stream_key(self.seed, "", f"grow-width from {widening.before}", name)
        drawn = uniform(copies.spec.shape, stream, self.noise)
        moved = cast(add(copies, multiply(copies, drawn)), node.spec.dtype)
        return gather_rows((node, moved), RowMap(((0, 0, widening.before), (1, 0, len(widening.copied)))))

    def _notes(self, widening: Widening, dtypes: Sequence[DType]) -> Iterator[str]:
        added = widening.after - widening.before
        yield f"each FFN has {widening.after} neurons, {added} of them copies, which share what they put out"
        if DType.F16 in dtypes:
            yield "shares below 2^-14 are rounded in float16"
        if not self.noise:
            return
        norm = self.noise / math.sqrt(3)
        yield (
            f"weights into the copies moved by up to {self.noise:.3g} of their size (noise), {norm:.2g} of their norm:"
            " the model no longer says exactly what it said"
        )
        lost = next((dtype for dtype in dtypes if self.noise < _ROUNDED.get(dtype, 0.0)), None)
        if lost is not None:
            yield f"most of this noise is lost in {lost.torch_name}, whose steps are larger: {_ROUNDED[lost]:.2g}"


def read_grow_width(step: manifest.Step) -> Operation:
    """Read `{ op = "grow-width", neurons = N, hidden = H, seed = 0, noise = 0.0 }`.

    Every FFN gets N neurons, all that it has and copies of some: copy k, from 0, of the D' - D is one of neuron
    `floor(k * D / (D' - D))`, so evenly spread ones, in order, behind the old ones. What a neuron puts out is shared by
    its copies: Net2Net, https://arxiv.org/abs/1511.05641, which divides by their number. Here shares are powers of two
    that add up to 1 (1/2, 1/4, 1/4 of three), so no weight is rounded, in bf16 neither, and what the model says differs
    only by the order in which it adds.

    Copies that are equal learn the same: `noise` moves each weight that goes into a copy by up to this share of it,
    drawn by `seed`, tensor, width before and element. The model then no longer says exactly what it said.

    `hidden` widens what passes between the blocks of a Llama, Mistral, Qwen2 or Qwen3 to H, which must be a whole
    multiple of what it is, because norms divide by the mean square: every channel is copied as often, and heads stay as
    wide as they are. A tied head becomes one of its own.
    """
    table = step.table.fresh()
    neurons, hidden = (_read_width(table, key) for key in ("neurons", "hidden"))
    seed, noise = table.integer_or_none("seed"), table.number_or_none("noise") or 0.0
    if neurons is None and hidden is None:
        hint = "write `neurons = N`: how many each FFN has afterwards"
        raise table.missing("a grow-width needs `neurons` or `hidden`", "neurons", "hidden", hint=hint)
    table.finish()
    if not 0 <= noise < 1:
        raise table.error("`noise` must be at least 0 and below 1: a share of each weight", key="noise")
    if noise and neurons is None:
        raise table.error("`noise` is for the copies of `neurons`, and none are asked for", key="noise")
    if seed is not None and not noise:
        raise table.error(
            "`seed` is of the `noise`, and there is none", key="seed", hint="write noise = 0.01, or no seed"
        )
    return GrowWidth(neurons=neurons, hidden=hidden, seed=seed or 0, noise=noise, place=step.place)


def _read_width(table: Table, key: str) -> int | None:
    width = table.integer_or_none(key)
    if width is not None and not 1 < width <= _MOST:
        raise table.error(f"`{key}` must be from 2 to {_MOST:,}", key=key)
    return width


register("grow-width", read_grow_width)
