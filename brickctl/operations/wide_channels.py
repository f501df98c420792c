"""Wider channels: what passes between the blocks of a Llama-like model, every number of it several times.

A norm divides by the mean square, which is the same for numbers that all come m times; a norm with m times as many
others would divide by something else, so only whole multiples keep what the model says. What writes into the channels
writes every number m times; what reads them takes a share of each.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.errors import Misfit, Unsupported
from brickctl.operations.mixtures import spoken
from brickctl.tensors.widened import Widening, widen_columns, widen_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.errors import Place

_KNOWN = ("llama", "mistral", "qwen2", "qwen3")
"""Model types that do nothing with the width but what is done here: Gemma multiplies embeddings by its root."""

_MATRIX = 2
_HEAD = "lm_head.weight"
_LAYER = r"model\.layers\.\d+\."
_READS = re.compile(rf"{_LAYER}(?:self_attn\.[qkv]_proj|mlp\.(?:gate|up)_proj)\.weight|lm_head\.weight")
_WRITES = re.compile(rf"{_LAYER}(?:self_attn\.o_proj|mlp\.down_proj)\.weight")
_WRITES_ENTRIES = re.compile(
    rf"model\.embed_tokens\.weight|(?:{_LAYER}(?:input|post_attention)_layer|model\.)norm\.weight"
    rf"|{_LAYER}(?:self_attn\.o_proj|mlp\.down_proj)\.bias"
)
_UNTOUCHED = re.compile(
    rf"{_LAYER}(?:self_attn\.[qkv]_proj\.bias|mlp\.(?:gate|up)_proj\.bias"
    r"|self_attn\.[qk]_norm\.weight|self_attn\.rotary_emb\.inv_freq)"
)
_CANNOT = "grow-width cannot widen what passes between the blocks of this model"


def widen_channels(model: LazyModel, hidden: int, place: Place | None) -> tuple[LazyModel, tuple[str, ...]]:
    """The model with channels of this width, and what the user should know.

    Raises:
        Misfit: `hidden` is no multiple of what it is.
        Unsupported: it is not known of this model what to do with each of its tensors.
    """
    config, before = model.config, _width(model, place)
    if hidden <= before or hidden % before:
        cause = f"it has {before} channels, and norms allow only multiples of that: {2 * before}, {3 * before}, ..."
        raise Misfit(f"the model cannot have {hidden} channels", causes=(cause,), place=place)
    widening = Widening(before, hidden)
    tensors = {name: _widened(name, node, widening, place) for name, node in model.tensors.items()}
    for name, source in model.ties.items():
        tensors[name] = widen_columns(model.tensors[source], widening, shared=True)
    heads = spoken(config, tied=bool(model.ties))["head_dim"]
    said = {**config, "hidden_size": hidden, "head_dim": heads, "tie_word_embeddings": False}
    wider = dataclasses.replace(model, tensors=tensors, ties={}, config=said, source_config=None)
    notes = [f"{hidden} channels pass between blocks, each of the {before} before {hidden // before} times"]
    if model.ties:
        notes.append(f"`{_HEAD}` shared the embedding's weights and no longer does: it takes a share of each channel")
    if any(node.spec.dtype is DType.F16 for node in model.tensors.values()):
        notes.append("shares below 2^-14 are rounded in float16")
    return wider, tuple(notes)


def _width(model: LazyModel, place: Place | None) -> int:
    """How wide the channels are."""
    config: Mapping[str, Any] = model.config
    kind, width, heads = (config.get(key) for key in ("model_type", "hidden_size", "num_attention_heads"))
    if kind not in _KNOWN:
        cause = f"its model type is `{shown(kind)}`; it is known how to for {', '.join(_KNOWN)}"
        raise Unsupported(_CANNOT, causes=(cause,), place=place, hint="`neurons` works with more models")
    if type(width) is not int or type(heads) is not int or heads < 1 or width < 1:
        cause = "it has no `hidden_size` and `num_attention_heads`"
        raise Unsupported("config.json does not say how wide the model is", causes=(cause,), place=place)
    return width


def _widened(name: str, node: Node, widening: Widening, place: Place | None) -> Node:
    """One tensor of the wider model."""
    if _UNTOUCHED.fullmatch(name):
        return node
    by_rows, shared = _WRITES.fullmatch(name) is not None, _READS.fullmatch(name) is not None
    if not (by_rows or shared or _WRITES_ENTRIES.fullmatch(name)):
        raise Unsupported(_CANNOT, causes=(f"`{shown(name)}` is none of the tensors that it knows",), place=place)
    dimensions, width = len(node.spec.shape), node.spec.rows if by_rows else node.spec.columns
    is_matrix = dimensions == _MATRIX or (dimensions == 1 and not (by_rows or shared))
    if not is_matrix or width != widening.before or not node.spec.dtype.is_mergeable:
        cause = f"`{name}` is {node.spec.dtype.code} {list(node.spec.shape)}; the model has {widening.before} channels"
        raise Unsupported(_CANNOT, causes=(cause,), place=place)
    return widen_rows(node, widening) if by_rows else widen_columns(node, widening, shared=shared)
