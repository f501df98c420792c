"""Tiny models that are no decoders of linear layers: transposed weights, encoders, both, convolutions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
import transformers
from peft import PeftModel, PeftType, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from tests.support.models import quietly, randomise

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_DECODER = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
_MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "n_inner": 48},
    ),
    "bert": (
        "BertConfig",
        "BertForSequenceClassification",
        {
            "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 48,
        },
    ),
    "t5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    ),
    "resnet": (
        "ResNetConfig",
        "ResNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"},
    ),
    "gpt_oss": (
        "GptOssConfig",
        "GptOssForCausalLM",
        {
            "vocab_size": 96, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "layer_types": None,
        },
    ),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        "Qwen3MoeForCausalLM",
        {
            "vocab_size": 96, "hidden_size": 32, "moe_intermediate_size": 16, "num_hidden_layers": 2, "head_dim": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 2,
        },
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", _DECODER),
    "mistral": ("MistralConfig", "MistralForCausalLM", _DECODER),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", {**_DECODER, "use_sliding_window": True, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**_DECODER, "head_dim": 8}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {**_DECODER, "head_dim": 8}),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {**_DECODER, "head_dim": 8}),
    "phi": ("PhiConfig", "PhiForCausalLM", {**_DECODER, "num_key_value_heads": 4}),
    "gpt_neox": (
        "GPTNeoXConfig",
        "GPTNeoXForCausalLM",
        {
            "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 32,
        },
    ),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        {
            **_DECODER, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4,
            "num_experts_per_tok": 2, "mlp_only_layers": [1],
        },
    ),
    "mixtral": (
        "MixtralConfig",
        "MixtralForCausalLM",
        {
            "vocab_size": 96, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4,
        },
    ),
}  # fmt: skip


def model_of(architecture: str, folder: Path, *, seed: int = 0) -> Path:
    """Save a tiny model with random weights."""
    config, model, sizes = _MODELS[architecture]
    torch.manual_seed(seed)
    made = getattr(transformers, model)(getattr(transformers, config)(**sizes))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0.0, 0.1)
    made.save_pretrained(folder)
    return folder


def load_any(folder: Path) -> Any:
    """The model as transformers loads it, of the class that its configuration names."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    return quietly(lambda: getattr(transformers, name).from_pretrained(folder).eval())


def adapter_on(base: Path, folder: Path, peft_type: str = "LORA", *, seed: int = 2, **settings: Any) -> Path:
    """Save an adapter for any model, every trained number of it random."""
    config = quietly(lambda: PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(peft_type)](**settings))
    model = quietly(lambda: get_peft_model(load_any(base), config))
    randomise(model, seed, 0.1)
    quietly(lambda: model.save_pretrained(folder))
    return folder


def merged(base: Path, adapter: Path) -> dict[str, Tensor]:
    """Every tensor of `merge_and_unload()`."""
    found = quietly(lambda: PeftModel.from_pretrained(load_any(base), adapter).merge_and_unload())
    return dict(found.state_dict())
