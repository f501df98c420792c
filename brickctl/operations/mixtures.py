"""Stock mixtures of experts: which of them can say what a dense model says, under which names and in which words.

| base | without shared neurons | with shared neurons |
| --- | --- | --- |
| Llama, Mistral | Mixtral: the same attention, sliding windows included | Qwen2-MoE: biases of 0 |
| Qwen2 | Qwen2-MoE, as Mixtral has no biases; a shared expert of 0 | Qwen2-MoE |
| Qwen3 | Qwen3-MoE: the same norms of queries and keys | none: Qwen3-MoE has no shared expert |

What a base leaves unsaid in config.json has other defaults in its mixture, so it is written out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from brickctl.errors import Place

EMPTY_SHARED = 8
"""Neurons of a shared expert of zeros, which a model must have that wants one: as many as GPUs multiply at once."""

_ANY: dict[str, Any] = {"attention_dropout": 0.0, "hidden_act": "silu", "rms_norm_eps": 1e-6}
_META = {"bos_token_id": 1, "eos_token_id": 2, "vocab_size": 32000}
_QWEN = {
    "bos_token_id": None,
    "eos_token_id": None,
    "num_key_value_heads": 32,
    "sliding_window": 4096,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "max_window_layers": 28,
}
_UNSAID: dict[str, dict[str, Any]] = {
    "llama": {**_ANY, **_META, "max_position_embeddings": 2048, "attention_bias": False, "mlp_bias": False},
    "mistral": {**_ANY, **_META, "max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {**_ANY, **_QWEN},
    "qwen3": {**_ANY, **_QWEN, "head_dim": 128, "attention_bias": False},
}  # fmt: skip
"""What a dense model means where its config.json is silent, by its type; its mixture would mean something else."""

_ROPE_THETA = 10_000.0
_BASE_ONLY = ("attention_bias", "max_window_layers", "mlp_bias", "pretraining_tp", "use_sliding_window")
"""Keys that a mixture may not know, or that it means differently: those that count are checked, and written anew."""

_OUTSIDE = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
_LAYER = re.compile(r"model\.layers\.\d+\.(.+)")
_NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")
_ATTENTION = tuple(f"self_attn.{part}_proj.weight" for part in "qkvo")
QKV_BIASES = tuple(f"self_attn.{part}_proj.bias" for part in "qkv")
"""What Qwen's second generation adds to queries, keys and values."""

_QK_NORMS = ("self_attn.q_norm.weight", "self_attn.k_norm.weight")
COMPUTED = "self_attn.rotary_emb.inv_freq"
"""What old files hold although the model computes it: left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a split decides: experts, how many of them are active, and neurons of an expert and of the shared one."""

    experts: int
    active: int
    width: int
    shared: int
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """A model type of transformers whose FFNs are experts.

    Attributes:
        model_type: how config.json calls it.
        architecture: the class that runs it.
        block: how a layer calls what stands in the place of `mlp`.
        count: how config.json calls the number of experts.
        names: how an expert calls its gate, up and down matrices.
        attention: tensors of a layer that it knows, beside norms and the four matrices of attention.
        has_shared: whether there is an expert that is always on, behind a gate of its own.
        write: its configuration, from what the base says.
    """

    model_type: str
    architecture: str
    block: str
    count: str
    names: tuple[str, str, str]
    attention: tuple[str, ...]
    has_shared: bool
    write: Callable[[Mapping[str, Any], Sizes], Mapping[str, Any]]

    def config(self, said: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
        """The configuration of the mixture."""
        kept = {key: value for key, value in said.items() if key not in _BASE_ONLY}
        own = {"model_type": self.model_type, "architectures": [self.architecture], "output_router_logits": False}
        return {**kept, **own, "num_experts_per_tok": sizes.active, **self.write(said, sizes)}


def mixture_for(config: Mapping[str, Any], *, shared: bool, place: Place | None) -> Mixture:
    """The mixture that can say what this model says, with an expert that is always on or without.

    Raises:
        Unsupported: there is none.
    """
    base = config.get("model_type")
    base = base if isinstance(base, str) else shown(base)
    found = _MIXTURES.get((base, shared))
    if found is not None:
        return found
    if (base, not shared) in _MIXTURES:
        cause = f"it has shared neurons, and the mixture of `{base}` has no expert that is always on"
        hint = "derive a brick without shared neurons"
    else:
        cause = f"its model type is `{shown(base)}`"
        hint = f"a stock mixture is known for {', '.join(_UNSAID)}; `prune` works with more models"
    raise Unsupported("no stock mixture of experts fits this model", causes=(cause,), place=place, hint=hint)


def mixture_of(config: Mapping[str, Any], place: Place | None) -> Mixture:
    """The stock mixture that a model is.

    Raises:
        Unsupported: it is none of those known here.
    """
    kind = config.get("model_type")
    known = {mixture.model_type: mixture for mixture in _MIXTURES.values()}
    if not isinstance(kind, str) or kind not in known:
        cause = f"its model type is `{shown(kind)}`; known are {', '.join(known)}"
        hint = "make one of it before: grow-experts, split"
        raise Unsupported("the model is no stock mixture of experts", causes=(cause,), place=place, hint=hint)
    return known[kind]


def spoken(config: Mapping[str, Any], *, tied: bool) -> dict[str, Any]:
    """What a dense model of a known type says, and what it means where it is silent."""
    said = {"num_key_value_heads": None, "head_dim": None, **_UNSAID[config["model_type"]], **config}
    said["tie_word_embeddings"] = tied
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    if said["num_key_value_heads"] is None:
        said["num_key_value_heads"] = heads
    if said["head_dim"] is None and type(heads) is int and type(hidden) is int and heads:
        said["head_dim"] = hidden // heads
    nested = config.get("rope_parameters")
    if "rope_theta" not in config and not (isinstance(nested, dict) and "rope_theta" in nested):
        said["rope_theta"] = _ROPE_THETA
    return said


def refuse_unsayable(said: Mapping[str, Any], mixture: Mixture, place: Place | None) -> None:
    """Refuse what config.json says that the mixture cannot say.

    Raises:
        Unsupported: names the key.
    """
    biased = [] if mixture is QWEN3_MOE else ["attention_bias"]
    wrong = [key for key in (*biased, "mlp_bias") if said.get(key)]
    kinds = said.get("layer_types")
    if mixture is not QWEN2_MOE and isinstance(kinds, list) and any(kind != "full_attention" for kind in kinds):
        wrong.append("layer_types")
    if type(said.get("max_window_layers", 0)) is not int:
        wrong.append("max_window_layers")
    if mixture is QWEN3_MOE and said["use_sliding_window"]:
        wrong.append("use_sliding_window")
    if wrong:
        cause = f"config.json has `{wrong[0]} = {shown(said[wrong[0]])}`, which {mixture.architecture} cannot do"
        raise Unsupported("no stock mixture of experts fits this model", causes=(cause,), place=place)


def refuse_strangers(names: Iterable[str], mixture: Mixture, place: Place | None) -> None:
    """Refuse tensors, outside of FFNs, that the mixture would not load.

    Raises:
        Unsupported: names the first.
    """
    inside = (*_NORMS, *_ATTENTION, *mixture.attention, COMPUTED)
    for name in names:
        layer = _LAYER.fullmatch(name)
        if name not in _OUTSIDE and (layer is None or layer.group(1) not in inside):
            cause = f"it has `{shown(name)}`, for which {mixture.architecture} has no place"
            raise Unsupported("no stock mixture of experts fits this model", causes=(cause,), place=place)


def _mixtral(said: Mapping[str, Any], sizes: Sizes) -> Mapping[str, Any]:
    """Windows are those of every layer; a Llama has none, whatever its config.json says."""
    return {
        "intermediate_size": sizes.width,
        "num_local_experts": sizes.experts,
        "router_jitter_noise": 0.0,
        "sliding_window": said["sliding_window"] if said["model_type"] == "mistral" else None,
    }


def _qwen_moe(sizes: Sizes) -> dict[str, Any]:
    """Every layer has experts, whose weights add up to 1."""
    return {
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": sizes.width,
        "norm_topk_prob": True,
        "num_experts": sizes.experts,
    }


def _qwen2_moe(said: Mapping[str, Any], sizes: Sizes) -> Mapping[str, Any]:
    """It can have windows in some layers, and then says in which."""
    kinds = _kinds_of_layers(said, sizes.layers)
    windows = "sliding_attention" in kinds
    return {
        **_qwen_moe(sizes),
        "qkv_bias": True,
        "shared_expert_intermediate_size": sizes.shared or EMPTY_SHARED,
        "use_sliding_window": windows,
        "sliding_window": said["sliding_window"] if windows else None,
        "max_window_layers": sizes.layers,
        "layer_types": kinds,
    }


def _kinds_of_layers(said: Mapping[str, Any], layers: int) -> list[str]:
    """Which layers of a dense model have windows: Mistral's all, Qwen's as its config.json says."""
    kinds = said.get("layer_types")
    if said["model_type"] == "mistral":
        first = 0 if said["sliding_window"] is not None else layers
    elif said["model_type"] == "llama" or not said["use_sliding_window"] or said["sliding_window"] is None:
        first = layers
    elif isinstance(kinds, list):
        return kinds
    else:
        first = said["max_window_layers"]
    return ["full_attention" if layer < first else "sliding_attention" for layer in range(layers)]


def _qwen3_moe(said: Mapping[str, Any], sizes: Sizes) -> Mapping[str, Any]:
    own = {"attention_bias": said["attention_bias"], "use_sliding_window": False, "sliding_window": None}
    return {**_qwen_moe(sizes), **own}


MIXTRAL = Mixture(
    model_type="mixtral",
    architecture="MixtralForCausalLM",
    block="block_sparse_moe",
    count="num_local_experts",
    names=("w1", "w3", "w2"),
    attention=(),
    has_shared=False,
    write=_mixtral,
)
QWEN2_MOE = Mixture(
    model_type="qwen2_moe",
    architecture="Qwen2MoeForCausalLM",
    block="mlp",
    count="num_experts",
    names=("gate_proj", "up_proj", "down_proj"),
    attention=QKV_BIASES,
    has_shared=True,
    write=_qwen2_moe,
)
QWEN3_MOE = Mixture(
    model_type="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    block="mlp",
    count="num_experts",
    names=("gate_proj", "up_proj", "down_proj"),
    attention=(*_QK_NORMS, *QKV_BIASES, "self_attn.o_proj.bias"),
    has_shared=False,
    write=_qwen3_moe,
)
_MIXTURES = {
    ("llama", False): MIXTRAL,
    ("mistral", False): MIXTRAL,
    ("qwen2", False): QWEN2_MOE,
    ("qwen3", False): QWEN3_MOE,
    ("llama", True): QWEN2_MOE,
    ("mistral", True): QWEN2_MOE,
    ("qwen2", True): QWEN2_MOE,
}
"""By the type of the base, and whether some neurons are always on."""
