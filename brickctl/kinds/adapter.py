"""Adapter: what PEFT writes. The types, each with its formula, stand in `adapters/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import Misfit, Unsupported, asked_for
from brickctl.kinds.adapters.config import (
    FILE,
    AdapterConfig,
    base_hint,
    declared_base,
    not_mergeable,
    peft_type,
    read_config,
    why_not_mergeable,
)
from brickctl.kinds.adapters.fused_experts import INNER
from brickctl.kinds.adapters.keys import AdapterTensors, check_modules, sort_tensors
from brickctl.kinds.adapters.module import IN_FLOATS, SAVE_AGAIN, Module, layout_of
from brickctl.kinds.kind import Change, Changes, register, tuned_model
from brickctl.kinds.prompt import PROMPT_TYPES
from brickctl.tensors.arithmetic import add, subtract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node, Stored


class AdapterKind:
    """An adapter that PEFT loads."""

    name = "adapter"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """PEFT's configuration is there, and is no prompt's."""
        return FILE in contents.documents and peft_type(contents.documents[FILE]) not in PROMPT_TYPES

    def declared_base(self, contents: Contents) -> str | None:
        """The base that the adapter was trained on, as it says."""
        return declared_base(contents.documents[FILE])

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """Type and the modules it touches, and what `settings` of the type say; of others the type and the reason."""
        document = contents.documents[FILE]
        unmergeable = why_not_mergeable(document)
        if unmergeable is not None:
            return {"type": unmergeable.name, **unmergeable.facts()}
        config = read_config("this adapter", document)
        found = sort_tensors("this adapter", config.type, contents.tensors)
        return {
            **config.type.facts(config.settings, found.modules),
            "modules": len(found.modules),
            "targets": sorted({name.rsplit(".", 1)[-1] for name in found.modules}),
            "saved": sorted(found.saved),
        }

    def check(self, brick: Brick, base: LazyModel) -> None:
        """It fits where it can be merged; what can only be stacked fits where the base has its modules."""
        reason = why_not_mergeable(brick.contents.documents[FILE])
        with asked_for(brick.required_by):
            if reason is None:
                self.changes(brick, base)
            elif reason.stacks:
                check_modules(brick, base)
            else:
                raise not_mergeable(brick.name, reason)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:
        """The effective delta of every module that the adapter touches."""
        with asked_for(brick.required_by):
            config = read_config(brick.name, brick.contents.documents[FILE])
            tensors = sort_tensors(brick.name, config.type, brick.contents.tensors)
            return _Adapter(brick, config, tensors, base).changes()

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """The base with the adapter merged."""
        return tuned_model(base, self.changes(brick, base))


@dataclass(frozen=True, slots=True)
class _Adapter:
    """One adapter on one base, while its changes are collected."""

    brick: Brick
    config: AdapterConfig
    tensors: AdapterTensors
    base: LazyModel

    def changes(self) -> Changes:
        self._check_saved()
        found: Changes = {}
        for name, tensor in self.tensors.saved.items():
            found[name] = self._replaced(name, tensor)
        for module, tensors in self.tensors.modules.items():
            for name, change in self._of_module(module, tensors, found).items():
                found[name] = change
        if not found:
            raise self._unsound("is incomplete", "it touches no tensor at all")
        return self._with_ties(found)

    def _of_module(self, name: str, tensors: Mapping[str, Stored], found: Changes) -> Changes:
        """What the type's formula makes of the base's tensors, or of those that the adapter brings along for them."""
        settings = self.config.settings
        with asked_for(self.brick.required_by, hint=self._base_hint()):
            parameters = self.config.type.of_parameters(self.brick.name, name, tensors, settings, self.base)
        if parameters:
            return {tensor: Change(delta) for tensor, delta in parameters.items()}
        if any(parameter.startswith(INNER) for parameter in tensors):
            raise self._unsound("contradicts itself", f"`{name}` has tensors of one kind twice")
        weight, bias = f"{name}.weight", f"{name}.bias"
        self._check_base(weight)
        stored = self._running(weight, found)
        module = Module(
            owner=self.brick.name,
            name=name,
            tensors=tensors,
            shared=self.tensors.shared,
            stored=stored,
            bias=self._running(bias, found) if self._has(bias) else None,
            layout=layout_of(self.base, name, stored),
            place=self.brick.required_by,
            hint=self._base_hint(),
        )
        changes: Changes = {}
        for part, delta in self.config.type.deltas(module, settings).items():
            tensor = f"{name}.{part}"
            self._check_base(tensor)
            before = found[tensor].delta if tensor in found else None
            changes[tensor] = Change(delta if before is None else add(before, delta))
        return changes

    def _running(self, name: str, found: Changes) -> Node:
        base = self.base.node(name)
        return found[name].model(base) if name in found else base

    def _has(self, name: str) -> bool:
        return name in self.base.tensors or name in self.base.ties

    def _with_ties(self, found: Changes) -> Changes:
        """What was trained with tied weights stays tied: one delta for the embedding and the head.

        Without `ensure_weight_tying` PEFT trains the two apart, although the base ties them; then a change of one is no
        change of the other.
        """
        if self.config.ties_weights:
            for head, embedding in self.base.ties.items():
                shared = found.get(embedding) or found.get(head)
                if shared is not None:
                    found[head] = found[embedding] = shared
        return found

    def _replaced(self, name: str, tensor: Stored) -> Change:
        """A tensor that was trained and saved whole: of `modules_to_save`, a bias, an embedding."""
        self._check_base(name)
        base = self.base.node(name)
        if tensor.spec.shape != base.spec.shape:
            shapes = f"`{name}` is saved with shape {list(tensor.spec.shape)}; the base has {list(base.spec.shape)}"
            raise self._misfit(shapes)
        if not tensor.spec.dtype.is_mergeable:
            cause = f"`{name}` is stored as {tensor.spec.dtype.code}"
            message = f"`{self.brick.name}` is quantised and cannot be merged"
            raise Unsupported(message, causes=(cause,), place=self.brick.required_by, hint=IN_FLOATS)
        return Change(subtract(tensor, base), tensor)

    def _check_saved(self) -> None:
        """What the configuration lists as saved whole must be there: the base's own would take its place unseen."""
        for module in self.config.modules_to_save:
            self._check_part(f"its modules_to_save lists `{shown(module)}`", f".{module}.")
        if self.config.bias == "all":
            self._check_part("its configuration says that all biases were trained", ".bias")

    def _check_part(self, reason: str, part: str) -> None:
        """Where the base has tensors with this part in their names, the adapter must have saved some."""
        names = (*self.base.tensors, *self.base.ties)
        if any(part in f".{name}" for name in names) and not any(part in f".{name}" for name in self.tensors.saved):
            raise self._unsound("is incomplete", f"{reason}, and it has no tensor of it")

    def _check_base(self, name: str) -> None:
        """The base must have the tensor, in a type that can be added to."""
        if not self._has(name):
            raise self._misfit(f"it changes `{name}`, which the base does not have")
        dtype = self.base.node(name).spec.dtype
        if not dtype.is_mergeable:
            cause = f"`{name}` of the base is stored as {dtype.code}"
            hint = "use the bf16 or fp32 release of the base, or `stack` the adapter instead of merging it"
            message = "quantised weights cannot be merged"
            raise Unsupported(message, causes=(cause,), place=self.brick.required_by, hint=hint)

    def _misfit(self, cause: str) -> Misfit:
        message = f"`{self.brick.name}` does not fit the base"
        return Misfit(message, causes=(cause,), place=self.brick.required_by, hint=self._base_hint())

    def _unsound(self, what: str, cause: str) -> Misfit:
        """An error that no other base would help."""
        message = f"`{self.brick.name}` {what}"
        return Misfit(message, causes=(cause,), place=self.brick.required_by, hint=SAVE_AGAIN)

    def _base_hint(self) -> str:
        return base_hint(self.brick.name, self.config.base)


register(AdapterKind())
