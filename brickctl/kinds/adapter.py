"""Adapter: LoRA and its variants (rsLoRA, DoRA, patterns, embeddings, saved modules), as PEFT writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds import dora
from brickctl.kinds.adapter_config import FILE, LoraConfig, declared_base, read_lora_config
from brickctl.kinds.adapter_tensors import AdapterTensors, LoraModule, sort_tensors
from brickctl.kinds.kind import Change, Changes, register
from brickctl.tensors.arithmetic import add, subtract
from brickctl.tensors.exact import exact_product, exact_product_transposed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node, Stored


class AdapterKind:
    """An adapter that PEFT loads."""

    name = "adapter"

    def detect(self, contents: Contents) -> bool:
        """PEFT's configuration is there."""
        return FILE in contents.documents

    def declared_base(self, contents: Contents) -> str | None:
        """The base that the adapter was trained on, as it says."""
        return declared_base(contents.documents[FILE])

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """Type, rank, alpha and the modules it touches."""
        document = contents.documents[FILE]
        config = read_lora_config("this adapter", document)
        found = sort_tensors("this adapter", contents.tensors)
        ranks = sorted({module.up.spec.shape[1] for module in found.modules.values() if module.up is not None})
        return {
            "type": "DoRA" if config.dora else "rsLoRA" if config.rslora else "LoRA",
            "rank": ranks[0] if len(ranks) == 1 else ranks,
            "alpha": config.alpha,
            "modules": len(found.modules),
            "targets": sorted({name.rsplit(".", 1)[-1] for name in found.modules}),
            "saved": sorted(found.saved),
        }

    def changes(self, brick: Brick, base: LazyModel) -> Changes:
        """The effective delta of every module that the adapter touches."""
        config = read_lora_config(brick.name, brick.contents.documents[FILE])
        adapter = _Adapter(brick, config, sort_tensors(brick.name, brick.contents.tensors), base)
        return adapter.changes()


@dataclass(frozen=True, slots=True)
class _Adapter:
    """One adapter on one base, while its changes are collected."""

    brick: Brick
    config: LoraConfig
    tensors: AdapterTensors
    base: LazyModel

    def changes(self) -> Changes:
        self._check_saved()
        found: Changes = {}
        for name, tensor in self.tensors.saved.items():
            found[name] = self._replaced(name, tensor)
        for module, factors in self.tensors.modules.items():
            name = f"{module}.weight"
            self._check_base(name)
            found[name] = self._lora(module, name, factors, found.get(name))
        if not found:
            raise self._misfit("it touches no tensor at all")
        return self._with_ties(found)

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
        """A module that was trained and saved whole (`modules_to_save`, or an embedding)."""
        self._check_base(name)
        base = self.base.node(name)
        if tensor.spec.shape != base.spec.shape:
            shapes = f"`{name}` is saved with shape {list(tensor.spec.shape)}; the base has {list(base.spec.shape)}"
            raise self._misfit(shapes)
        return Change(subtract(tensor, base), tensor)

    def _lora(self, module: str, name: str, factors: LoraModule, replaced: Change | None) -> Change:
        """LoRA on the base's tensor, or on the one that the adapter brings along for the same module."""
        base = self.base.node(name)
        weight = base if replaced is None else replaced.model(base)
        delta = self._delta(module, weight, factors)
        return Change(delta if replaced is None else add(replaced.delta, delta))

    def _delta(self, module: str, weight: Node, factors: LoraModule) -> Node:
        down, up = factors.down, factors.up
        if down is None or up is None:  # `sort_tensors` lets no half pair through
            raise self._misfit(f"`{module}` is incomplete")
        for factor in (down, up):
            if not factor.spec.dtype.is_mergeable:
                cause = f"the factors of `{module}` are stored as {factor.spec.dtype.code}"
                raise Unsupported(f"`{self.brick.name}` is quantised and cannot be merged", causes=(cause,))
        scale = self.config.scale_of(module, self._rank(module, down))
        self._check_shape(f"{module}.weight", weight, factors, down, up)
        product = (exact_product_transposed if factors.is_embedding else exact_product)(up, down, scale)
        if not self.config.dora:
            if factors.magnitude is not None:
                raise self._misfit(f"`{module}` has a DoRA magnitude and `use_dora` is not set")
            return product
        return self._dora(module, weight, product, factors)

    def _dora(self, module: str, weight: Node, product: Node, factors: LoraModule) -> Node:
        magnitude = factors.magnitude
        outputs = weight.spec.columns if factors.is_embedding else weight.spec.rows
        if magnitude is None or magnitude.spec.elements != outputs:
            raise self._misfit(f"`{module}` needs a DoRA magnitude of {outputs} numbers")
        delta = dora.embedding_delta if factors.is_embedding else dora.linear_delta
        return delta(weight, product, magnitude)

    def _rank(self, module: str, down: Stored) -> int:
        rank, configured = down.spec.shape[0], self.config.rank_of(module)
        if rank != configured or rank == 0:
            raise self._misfit(f"`{module}` has factors of rank {rank}; its configuration says {configured}")
        return rank

    def _check_saved(self) -> None:
        """What the configuration lists as saved whole must be there: the base's own would take its place unseen."""
        names = (*self.base.tensors, *self.base.ties)
        for module in self.config.modules_to_save:
            part = f".{module}."
            if any(part in f".{name}" for name in names) and not any(part in f".{name}" for name in self.tensors.saved):
                cause = f"its modules_to_save lists `{shown(module)}`, and it has no tensor of it"
                message = f"`{self.brick.name}` is incomplete"
                hint = "save the adapter again with PEFT's save_pretrained, or ask its publisher"
                raise Misfit(message, causes=(cause,), place=self.brick.required_by, hint=hint)

    def _check_base(self, name: str) -> None:
        """The base must have the tensor, in a type that can be added to."""
        if name not in self.base.tensors and name not in self.base.ties:
            hint = did_you_mean(name, (*self.base.tensors, *self.base.ties)) or self._base_hint()
            raise self._misfit(f"it changes `{name}`, which the base does not have", hint=hint)
        dtype = self.base.node(name).spec.dtype
        if not dtype.is_mergeable:
            cause = f"`{name}` of the base is stored as {dtype.code}"
            hint = "use the bf16 or fp32 release of the base, or `stack` the adapter instead of merging it"
            raise Unsupported("quantised weights cannot be merged", causes=(cause,), hint=hint)

    def _check_shape(self, name: str, weight: Node, factors: LoraModule, down: Stored, up: Stored) -> None:
        needed = (up.spec.shape[0], down.spec.shape[1])
        words = ("out_features", "in_features")
        if factors.is_embedding:
            needed, words = (needed[1], needed[0]), ("tokens", "dimensions")
        if len(weight.spec.shape) != 2:  # noqa: PLR2004 - a matrix
            raise self._misfit(f"`{name}` of the base has shape {list(weight.spec.shape)}, which is no matrix")
        for word, need, have in zip(reversed(words), reversed(needed), reversed(weight.spec.shape), strict=True):
            if need != have:
                raise self._misfit(f"`{name}` needs {word} {need}; the base has {have}")

    def _misfit(self, cause: str, *, hint: str | None = None) -> Misfit:
        message = f"`{self.brick.name}` does not fit the base"
        hint = hint or self._base_hint()
        return Misfit(message, causes=(cause,), place=self.brick.required_by, hint=hint)

    def _base_hint(self) -> str | None:
        if self.config.base is None:
            return None
        own = f"`{self.brick.name}`"
        return f"{own} was trained on {shown(self.config.base)}; set [base] to it, or remove {own}"


register(AdapterKind())
