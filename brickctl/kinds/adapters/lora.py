"""LoRA, rsLoRA and DoRA: a product of two small matrices beside each weight. See arXiv 2106.09685.

    delta = s * B A, with s = alpha / r, or alpha / sqrt(r) with `use_rslora`

A is (r, in), B (out, r); of an embedding A is (r, V), B (d, r), and the delta (B A) transposed. The kernel of a
convolution belongs to its inputs. With `lora_bias` the bias of B is added to the base's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import Unsupported
from brickctl.kinds.adapters import dora, fused_experts, tokens
from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import Pattern, ignore, number, only_neutral, pattern, rank_pattern, strings
from brickctl.tensors.arithmetic import scaled
from brickctl.tensors.exact import exact_product, exact_product_transposed
from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node, Stored
    from brickctl.kinds.adapters.module import Module

_WITHOUT_EFFECT = (
    "alora_invocation_tokens", "arrow_config", "corda_config", "eva_config", "loftq_config", "lora_dropout",
    "megatron_config", "megatron_core", "qalora_group_size",
)  # fmt: skip
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "kasa_config": (None,),
    "layer_replication": (None, []),
    "lora_ga_config": (None,),
    "monteclora_config": (None,),
    "use_bdlora": (None, False),
    "use_qalora": (False,),
    "velora_config": (None,),
}
"""Fields that change the formula, and the values with which they do not."""

_HARMLESS_INITIALISATIONS = (True, False, "gaussian", "orthogonal", "eva", "mica")
_ALPHA = 8.0
_TOKENS = (tokens.PARAMETER, f"token_adapter.{tokens.PARAMETER}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Rank, alpha and their patterns; the variant; and the rows of embeddings that were trained as tokens."""

    rank: int
    alpha: float
    rslora: bool
    dora: bool
    bias: bool
    rank_pattern: Pattern
    alpha_pattern: Pattern
    token_indices: tokens.Indices
    target_parameters: tuple[str, ...] = ()

    def scale(self, module: str, rank: int) -> float:
        """The factor s on B A."""
        alpha = self.alpha_pattern.at(module, self.alpha)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


class Lora(AdapterType):
    """A product of two small matrices beside each weight."""

    name = "LORA"
    title = "LoRA"
    parameters = (
        "lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_embedding_A", "lora_embedding_B",
        "lora_magnitude_vector.weight", "lora_magnitude_vector", *_TOKENS,
    )  # fmt: skip

    def read(self, table: Table) -> LoraSettings:
        """Take LoRA's fields."""
        ignore(table, *_WITHOUT_EFFECT)
        for name, values in _NEUTRAL.items():
            only_neutral(table, name, *values)
        _check_initialisation(table)
        return LoraSettings(
            rank=table.integer("r"),
            alpha=number(table, "lora_alpha", _ALPHA),
            rslora=table.boolean_or_none("use_rslora") or False,
            dora=table.boolean_or_none("use_dora") or False,
            bias=table.boolean_or_none("lora_bias") or False,
            rank_pattern=rank_pattern(table),
            alpha_pattern=pattern(table, "alpha_pattern"),
            target_parameters=strings(table, "target_parameters"),
            token_indices=tokens.read_indices(table, "trainable_token_indices"),
        )

    def facts(self, settings: LoraSettings, modules: Mapping[str, Mapping[str, Stored]]) -> Mapping[str, Any]:
        """The variant, the ranks that occur, and alpha."""
        downs = (one.get("lora_A.weight") or one.get("lora_embedding_A") for one in modules.values())
        ranks = sorted({down.spec.shape[0] for down in downs if down is not None and down.spec.shape})
        return {
            "type": "DoRA" if settings.dora else "rsLoRA" if settings.rslora else "LoRA",
            "rank": ranks[0] if len(ranks) == 1 else ranks,
            "alpha": settings.alpha,
        }

    def of_parameters(
        self, owner: str, module: str, tensors: Mapping[str, Stored], settings: LoraSettings, base: LazyModel
    ) -> Mapping[str, Node]:
        """Deltas of the fused experts that `target_parameters` names."""
        if not settings.target_parameters or f"{module}.weight" in base.tensors or f"{module}.weight" in base.ties:
            return {}
        return fused_experts.deltas(owner, module, tensors, settings, base)

    def deltas(self, module: Module, settings: LoraSettings) -> Mapping[str, Node]:
        """Of the weight, and of the bias where B has one."""
        found = next(
            (name for name in (tokens.PARAMETER, f"token_adapter.{tokens.PARAMETER}") if module.has(name)), None
        )
        if found is not None:
            return _token_deltas(module, found, settings)
        is_embedding = module.has("lora_embedding_A") or module.has("lora_embedding_B")
        if is_embedding and (module.has("lora_A.weight") or module.has("lora_B.weight")):
            raise module.contradiction(f"`{module.name}` has factors of a linear layer and of an embedding")
        deltas = {"weight": (_embedding_delta if is_embedding else _linear_delta)(module, settings)}
        if settings.bias:
            down_rank = module.tensor("lora_A.weight").spec.shape[0]
            bias = module.vector("lora_B.bias", module.outputs)
            deltas["bias"] = scaled(reshape(bias, (module.outputs,)), settings.scale(module.name, down_rank))
        elif module.has("lora_B.bias"):
            raise module.contradiction(f"`{module.name}` has a bias of B and `lora_bias` is not set")
        return deltas


def _linear_delta(module: Module, settings: LoraSettings) -> Node:
    down = module.matrix("lora_A.weight", columns=module.inputs)
    up = module.matrix("lora_B.weight", rows=module.outputs)
    product = exact_product(up, down, settings.scale(module.name, _rank(module, settings, down, up)))
    magnitude = _magnitude(module, settings, module.outputs)
    delta = product if magnitude is None else dora.linear_delta(module.weight, product, magnitude)
    return module.restored(delta)


def _embedding_delta(module: Module, settings: LoraSettings) -> Node:
    if len(module.stored.spec.shape) != 2:  # noqa: PLR2004 - a matrix
        raise module.misfit(f"`{module.name}` of the base is no embedding")
    down, up = module.matrix("lora_embedding_A"), module.matrix("lora_embedding_B")
    trained = {"tokens": down.spec.shape[1], "dimensions": up.spec.shape[0]}
    for (word, trained_on), have in zip(trained.items(), module.stored.spec.shape, strict=True):
        if trained_on != have:
            raise module.misfit(f"`{module.name}.weight` needs {trained_on} {word}; the base has {have}")
    dimensions = up.spec.shape[0]
    product = exact_product_transposed(up, down, settings.scale(module.name, _rank(module, settings, down, up)))
    magnitude = _magnitude(module, settings, dimensions)
    return product if magnitude is None else dora.embedding_delta(module.stored, product, magnitude)


def _token_deltas(module: Module, parameter: str, settings: LoraSettings) -> Mapping[str, Node]:
    if len(module.tensors) > 1:
        raise module.contradiction(f"`{module.name}` has trained tokens and factors of LoRA")
    rows = tokens.indices_of(settings.token_indices, module)
    return {"weight": tokens.delta(module, parameter, rows)}


def _rank(module: Module, settings: LoraSettings, down: Stored, up: Stored) -> int:
    rank, configured = down.spec.shape[0], int(settings.rank_pattern.at(module.name, settings.rank))
    if rank != up.spec.shape[1]:
        raise module.contradiction(f"the factors of `{module.name}` have ranks {rank} and {up.spec.shape[1]}")
    if rank != configured or rank == 0:
        raise module.contradiction(f"`{module.name}` has factors of rank {rank}; its configuration says {configured}")
    return rank


def _magnitude(module: Module, settings: LoraSettings, outputs: int) -> Stored | None:
    found = next((name for name in module.tensors if name.startswith("lora_magnitude_vector")), None)
    if settings.dora:
        if found is None:
            raise module.contradiction(f"`{module.name}` has no DoRA magnitude and `use_dora` is set")
        if module.tensor(found).spec.elements != outputs:
            raise module.misfit(f"`{module.name}` needs a DoRA magnitude of {outputs} numbers")
        return module.tensor(found)
    if found is not None:
        raise module.contradiction(f"`{module.name}` has a DoRA magnitude and `use_dora` is not set")
    return None


def _check_initialisation(table: Table) -> None:
    value = table.take("init_lora_weights")
    known = not table.has("init_lora_weights") or any(
        value is harmless or value == harmless for harmless in _HARMLESS_INITIALISATIONS
    )
    if not known:
        cause = f"`init_lora_weights = {shown(value)}` replaces the base's weights when PEFT loads it, by values that"
        cause += " are computed anew and are not in the file"
        hint = "where it was trained, make a plain LoRA of it: save_pretrained(FOLDER, path_initial_model_for_weight_"
        hint += "conversion=FOLDER_OF_THE_UNTRAINED_ADAPTER)"
        raise Unsupported(f"{table.file} asks for what cannot be merged exactly", causes=(cause,), hint=hint)


register(Lora())
