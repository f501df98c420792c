"""Expert: a full fine-tune of the base. Its delta is the task vector, tuned minus base."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE
from brickctl.core.numbers import layer_of
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.base import architecture, whole_model
from brickctl.kinds.kind import Change, Changes, register
from brickctl.tensors.arithmetic import subtract
from brickctl.vocabulary.axis import vocabulary_tensors, with_other_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.core.regions import Spec

_TUNED_FROM = "an expert is a fine-tune of the base: set [base] to the model that it was tuned from"
_OTHER_TOKENS = (
    "it has other tokens than the base: say in the merge whose the result has, "
    'as tokenizer = "union" in a manifest or --tokenizer union without one'
)
_STITCH = "write a target that stitches them"
_QUANTISED = ("quantization_config", "compression_config")
_BUFFERS = (
    "position_ids",
    "token_type_ids",
    "relative_position_index",
    "num_batches_tracked",
    "attention.bias",  # the causal masks of older models
    "attn.bias",
)
"""How the names of tensors of integers end that a model computes for itself, whatever it was trained to."""


class ExpertKind:
    """A whole model with the names and shapes of the base."""

    name = "expert"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """A model configuration and no adapter's."""
        return "config.json" in contents.documents and "adapter_config.json" not in contents.documents

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - no file of an expert names it
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """Architecture and number of parameters."""
        return {
            "architecture": architecture(contents),
            "parameters": sum(tensor.spec.elements for tensor in contents.tensors.values()),
        }

    def check(self, brick: Brick, base: LazyModel) -> None:
        """It fits where it can be merged; that it has a row for more tokens, or for fewer, a merge can deal with."""
        expert = self.model(brick, base)
        others = with_other_rows(expert, base)
        tensors = {name: base.node(name) if name in others else node for name, node in expert.tensors.items()}
        self.changes_of(brick, dataclasses.replace(expert, tensors=tensors), base)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:
        """Tuned minus base for every tensor; the expert must have exactly the tensors of the base."""
        return self.changes_of(brick, self.model(brick, base), base)

    def changes_of(self, brick: Brick, expert: LazyModel, base: LazyModel) -> Changes:
        """The same of the brick's model as somebody has put it into the vocabulary of the base.

        Raises:
            Misfit: the brick does not fit this base.
            Unsupported: the brick needs something that is not built.
        """
        names = dict.fromkeys((*base.tensors, *base.ties))
        _refuse_strangers(brick, expert, names)
        found = {name: _change(brick, name, expert, base.node(name)) for name in names}
        return {name: change for name, change in found.items() if change is not None}

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """The expert as it is."""
        expert = whole_model(brick)
        for owner, model in ((brick.name, expert), (BASE, base)):
            _refuse_quantised_config(brick, owner, model.config)
        return expert


def _refuse_strangers(brick: Brick, expert: LazyModel, names: Collection[str]) -> None:
    strange = [name for name in (*expert.tensors, *expert.ties) if name not in names]
    if strange:
        cause = f"it has `{strange[0]}`, which the base does not have"
        hint = _TUNED_FROM if layer_of(strange[0]) is None else f"{_TUNED_FROM}; to use only layers of it, {_STITCH}"
        raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), place=brick.required_by, hint=hint)


def _change(brick: Brick, name: str, expert: LazyModel, base: Node) -> Change | None:
    if name not in expert.tensors and name not in expert.ties:
        cause = f"the base has `{name}` and `{brick.name}` does not"
        hint = f'if it is a part of a model and not a whole one, write `kind = "module"` for `{brick.name}`'
        raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), place=brick.required_by, hint=hint)
    tuned = expert.node(name)
    if tuned.spec.shape != base.spec.shape:
        cause = f"`{name}` has shape {list(tuned.spec.shape)}; the base has {list(base.spec.shape)}"
        is_named = name in vocabulary_tensors(expert)
        hint = _OTHER_TOKENS if is_named and tuned.spec.shape[1:] == base.spec.shape[1:] else _TUNED_FROM
        raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), place=brick.required_by, hint=hint)
    if tuned.spec.dtype.is_mergeable and base.spec.dtype.is_mergeable:
        return None if tuned == base else Change(subtract(tuned, base), tuned)
    refuse_packed(brick, name, tuned, base)
    return None  # buffers of integers stay the base's


def refuse_packed(brick: Brick, name: str, tuned: Node, base: Node) -> None:
    """Refuse what may be weights in integers or in small floats; a buffer that the model computes is neither.

    Raises:
        Unsupported: two tensors, not both of mergeable numbers, of which a merge would pass over one.
    """
    same_class = tuned.spec.dtype.is_mergeable == base.spec.dtype.is_mergeable
    harmless = tuned == base or is_buffer(name, tuned.spec)
    if same_class and harmless:
        return
    odd = tuned if not tuned.spec.dtype.is_mergeable else base
    owner = brick.name if odd is tuned else BASE
    raise _quantised(brick, f"`{name}` of `{owner}` is stored as {odd.spec.dtype.code}")


def is_buffer(name: str, spec: Spec) -> bool:
    """Whether a tensor that is not of mergeable numbers may be one that the model computes for itself."""
    return spec.elements <= 1 or name.endswith(_BUFFERS)


def _refuse_quantised_config(brick: Brick, owner: str, config: Mapping[str, Any]) -> None:
    nested = config.get("text_config")
    for place in (config, nested if isinstance(nested, dict) else {}):
        for key in _QUANTISED:
            if place.get(key) is not None:
                raise _quantised(brick, f"config.json of `{owner}` has a `{key}`")


def _quantised(brick: Brick, cause: str) -> Unsupported:
    hint = "use the bf16 or fp32 release of the model"
    return Unsupported("quantised weights cannot be merged", causes=(cause,), place=brick.required_by, hint=hint)


register(ExpertKind())
