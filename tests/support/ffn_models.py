"""Tiny causal language models with FFNs of every shape that transformers has."""

from __future__ import annotations

from typing import Any

import torch
import transformers

_SIZES = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
_MIXTURE = {**_SIZES, "num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
MODELS: dict[str, dict[str, Any]] = {
    "Llama": _SIZES,
    "Qwen3": _SIZES,
    "Gemma2": _SIZES,
    "Phi3": _SIZES,
    "Nemotron": _SIZES,
    "GPT2": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "n_inner": 24},
    "OPT": {**_SIZES, "ffn_dim": 24, "word_embed_proj_dim": 16},
    "GPTNeoX": _SIZES,
    "Mixtral": _MIXTURE,
    "Qwen2Moe": {**_MIXTURE, "shared_expert_intermediate_size": 12, "mlp_only_layers": [1]},
    "GptOss": {**_MIXTURE, "layer_types": None},
}  # fmt: skip
"""By architecture: the sizes of a model that takes milliseconds."""

MIXTURES = ("Mixtral", "Qwen2Moe", "GptOss")


def tiny(architecture: str, *, seed: int = 0) -> Any:
    """A model of random numbers, large enough that every part of it shows in the logits."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{architecture}Config")(**MODELS[architecture])
    kind = {"GPT2": "GPT2LMHeadModel"}.get(architecture, f"{architecture}ForCausalLM")
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    return model
