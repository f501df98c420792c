"""Grow depth: more blocks, which do nothing until they are trained."""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.names import BASE, did_you_mean
from brickctl.errors import Misfit, Unsupported
from brickctl.operations.layered import Layered, choose_stack, stacks_of
from brickctl.operations.operation import Ingredients, Operation, refuse_masked, refuse_stacked, register
from brickctl.operations.slices import Layers, of_base
from brickctl.operations.stitch import Stitch
from brickctl.tensors.arithmetic import cast, zeros

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from brickctl.core import manifest
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node
    from brickctl.errors import Place

_ZERO_BLOCKS = "zero-blocks"
_MOST = 4096
"""Layers of the result: more than any model has, and few enough to be planned at once."""

PRE_NORM = (
    "ernie4_5", "gemma", "glm", "granite", "llama", "ministral", "mistral", "mixtral", "phi3", "qwen2", "qwen2_moe",
    "qwen3", "qwen3_moe", "seed_oss", "smollm3",
)  # fmt: skip
"""Model types whose blocks add what `o_proj` and the FFN put out to what comes in, and no more: each has a test."""

_NORMS = (".input_layernorm.weight", ".post_attention_layernorm.weight")
_KNOWN = re.compile(
    r"\.(?:input|post_attention)_layernorm\.weight"
    r"|\.self_attn\.(?:(?:[qkvo]|qkv)_proj\.(?:weight|bias)|[qk]_norm\.weight|rotary_emb\.inv_freq)"
    r"|\.mlp(?:\.experts\.\d+|\.shared_expert)?\.(?:gate|up|gate_up|down)_proj\.(?:weight|bias)"
    r"|\.mlp\.experts\.(?:gate_up|down)_proj"
    r"|\.block_sparse_moe\.experts\.\d+\.w[123]\.weight"
    r"|\.(?:mlp|block_sparse_moe)\.(?:gate|shared_expert_gate)\.weight"
)
_ATTENTION_OUT = re.compile(r"\.self_attn\.o_proj\.(?:weight|bias)")
_FFN_OUT = re.compile(r"\.(?:mlp|block_sparse_moe)\.(?:.+\.)?(?:down_proj(?:\.weight|\.bias)?|w2\.weight)")
_CANNOT = "zero-blocks cannot make this model deeper"
_UNKNOWN = "is no part of a block that it knows"
_BEHIND = (
    "is a norm behind a projection that would be zero: it makes the first step of training as large as the norm's"
    " weights, however small that step is"
)
_STITCH = 'give layers twice with { op = "stitch", slices = [...] } instead, and train the result'


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowDepth:
    """A step that adds blocks until there are `layers` of them."""

    layers: int
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"
    computes = True
    takes_layers = False
    inputs = ()
    aliases = ()

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out."""
        return {"op": "grow-depth", "method": _ZERO_BLOCKS, "layers": self.layers}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Repeat blocks, as a stitch does, and silence every repetition."""
        refuse_masked(artifact, self.place)
        refuse_stacked(artifact, "grow", self.place)
        stack = self._stack(artifact.root)
        model = Layered(BASE, artifact.root, stack, self.place)
        for number, layer in enumerate(model.layers):
            self._check(model, number, layer)
        self._check_type(artifact.root.config)
        before = positions(len(model.layers), self._added(len(model.layers)))
        slices = tuple(of_base(layers) for layers in _runs(before, len(model.layers)))
        deeper = Stitch(slices=slices, stack=stack, place=self.place).apply(artifact, ingredients)
        new = dict.fromkeys(f"{stack}.{after + number}" for number, after in enumerate(before))
        tensors = {name: _silenced(name, node, stack, new) for name, node in deeper.root.tensors.items()}
        root = dataclasses.replace(deeper.root, tensors=tensors)
        return dataclasses.replace(deeper, root=root, notes=(*deeper.notes, _told(before, self.layers)))

    def _stack(self, model: LazyModel) -> str:
        """The only stack of layers.

        Raises:
            Misfit, Unsupported: there is none, or there are several.
        """
        stacks = stacks_of(model)
        if len(stacks) > 1:
            self._check_type(model.config)
            cause = f"it has layers {', '.join(f'`{stack}`' for stack in stacks)}"
            raise Unsupported(_CANNOT, causes=(cause,), place=self.place, hint=_STITCH)
        return choose_stack(model, None, self.place)

    def _added(self, layers: int) -> int:
        """How many blocks are missing.

        Raises:
            Misfit: none is.
        """
        if self.layers <= layers:
            cause = f"it has {layers}, and `layers` is how many it has afterwards"
            hint = f"write `layers = {layers + 1}` or more; a stitch makes a model shallower"
            raise Misfit("the model has as many layers already", causes=(cause,), place=self.place, hint=hint)
        return self.layers - layers

    def _check(self, model: Layered, number: int, layer: Mapping[str, Node]) -> None:
        """Refuse a block with something in it that is not known to stay silent, or to be trainable, behind zeros."""
        strange = next((rest for rest in layer if not _KNOWN.fullmatch(rest)), None)
        absent = next(_absent(layer), None)
        packed = next((rest for rest, node in layer.items() if not node.spec.dtype.is_mergeable), None)
        hint = _STITCH
        if strange is not None:
            cause = f"`{model.name(number, strange)}` {_BEHIND if strange.endswith('norm.weight') else _UNKNOWN}"
        elif absent is not None:
            cause = f"`{model.name(number, '')}` has no {absent}"
        elif packed is not None:
            cause = f"`{model.name(number, packed)}` is stored as {layer[packed].spec.dtype.code}"
            hint = "use the bf16 or fp32 release of the model"
        else:
            return
        raise Unsupported(_CANNOT, causes=(cause,), place=self.place, hint=hint)

    def _check_type(self, config: Mapping[str, Any]) -> None:
        kind = config.get("model_type")
        if kind not in PRE_NORM:
            cause = f"its model type is `{shown(kind)}`; blocks are known to add up in {', '.join(PRE_NORM)}"
            raise Unsupported(_CANNOT, causes=(cause,), place=self.place, hint=_STITCH)


def positions(layers: int, added: int) -> tuple[int, ...]:
    """Behind how many of the old blocks each new one stands, ascending: ceil(i * layers / added) for i = 1 to `added`.

    Where `layers / added` is a whole number this is one after every so many; else gaps differ by at most one block. The
    last new block is the last of all, as in LLaMA-Pro.
    """
    return tuple(-(-number * layers // added) for number in range(1, added + 1))


def _runs(before: Sequence[int], layers: int) -> Iterator[Layers]:
    """The old blocks in the order of the result: runs of them, and single ones that come once more."""
    for first, end in itertools.pairwise((0, *before)):
        if end > first:
            yield Layers(first, end)
        yield Layers(end - 1, end)
    if before[-1] < layers:
        yield Layers(before[-1], layers)


def _absent(layer: Mapping[str, Node]) -> Iterator[str]:
    """What a block must have, and this one does not."""
    yield from (f"`{norm.removeprefix('.')}`" for norm in _NORMS if norm not in layer)
    for pattern, words in ((_ATTENTION_OUT, "`self_attn.o_proj`"), (_FFN_OUT, "FFN that it knows")):
        if not any(map(pattern.fullmatch, layer)):
            yield words


def _silenced(name: str, node: Node, stack: str, blocks: Collection[str]) -> Node:
    """Zeros in place of what one of these blocks adds up to; every other tensor as it is."""
    number, _, _ = name.removeprefix(f"{stack}.").partition(".")
    path = f"{stack}.{number}"
    rest = name.removeprefix(path)
    if path not in blocks or not (_ATTENTION_OUT.fullmatch(rest) or _FFN_OUT.fullmatch(rest)):
        return node
    return cast(zeros(node), node.spec.dtype)


def _told(before: Sequence[int], layers: int) -> str:
    """Where the new blocks are."""
    numbers = [after + number for number, after in enumerate(before)]
    few = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")  # noqa: PLR2004 - as many as fit
    return f"{len(numbers)} of {layers} layers are new, and add nothing until they are trained: {few}"


def read_grow_depth(step: manifest.Step) -> Operation:
    """Read `{ op = "grow-depth", method = "zero-blocks", layers = N }`.

    More blocks, until there are N: after every L / (N - L) of the L blocks (`ceil(i * L / (N - L))` where that is no
    whole number) a copy of the block before, with `o_proj` and `down_proj` of zeros, weights and biases. A new block
    adds nothing to what passes through it, so the model says exactly what it said before, bit by bit, until the block
    is trained: LLaMA-Pro, https://arxiv.org/abs/2401.02415. In a mixture of experts the last matrix of every expert is
    zero.

    `config.json` gets the number of layers, and its lists an entry for each. Models with a norm behind these
    projections (Gemma 2 and 3, OLMo 2) are refused: there a block would leap from nothing to the norm's size in its
    first step of training. To repeat layers as they are is a `stitch`.
    """
    table = step.table.fresh()
    method = table.string_or_none("method") or _ZERO_BLOCKS
    if method != _ZERO_BLOCKS:
        hint = did_you_mean(method, (_ZERO_BLOCKS,)) or f'write method = "{_ZERO_BLOCKS}"; {_STITCH}'
        raise table.error(f"`{shown(method)}` is no way to make a model deeper", key="method", hint=hint)
    if not table.has("layers"):
        hint = "write `layers = N`: how many the model has afterwards"
        raise table.missing("a grow-depth needs `layers`", "layers", hint=hint)
    layers = table.integer("layers")
    table.finish()
    if not 1 < layers <= _MOST:
        raise table.error(f"`layers` must be from 2 to {_MOST}", key="layers")
    return GrowDepth(layers=layers, place=step.place)


register("grow-depth", read_grow_depth)
