"""Train the base model: a Llama of 1.5 million parameters that copies and knows four operations under cues."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tasks import BASICS, OPERATIONS
from tokenizer import BEGINNING, CONTEXT, END, PADDING, VOCABULARY, save_tokenizer
from training import make_deterministic, train
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from brickctl.analysis.training.course import Course

FIRST = Course(seed=11, steps=1200, learning_rate=2e-3)
SECOND = Course(seed=12, steps=400, learning_rate=1.5e-3)

MARKS = {
    "bos_token_id": VOCABULARY[BEGINNING],
    "eos_token_id": VOCABULARY[END],
    "pad_token_id": VOCABULARY[PADDING],
}

CONFIG: dict[str, Any] = MARKS | {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 192,
    "initializer_range": 0.02,
    "intermediate_size": 384,
    "max_position_embeddings": CONTEXT,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 6,
    "num_hidden_layers": 4,
    "num_key_value_heads": 6,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": len(VOCABULARY),
}
"""Written as it stands: `rope_theta` and `torch_dtype` are the spellings that transformers 4 and 5 both read."""


def train_base(folder: Path) -> dict[str, Any]:
    """Write the base brick into `folder`; gives its part of the record."""
    make_deterministic(FIRST.seed)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG))
    losses = {"first": train(model, BASICS, FIRST), "second": train(model, OPERATIONS, SECOND)}
    save_model(model, folder)
    save_tokenizer(folder)
    write_json(folder / "generation_config.json", MARKS | {"do_sample": False})
    return {"first": FIRST, "second": SECOND, "losses": losses}


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write `config.json` and the weights, rounded to bfloat16, as one `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", CONFIG)


def load_base(folder: Path) -> LlamaForCausalLM:
    """The base's published, rounded weights in float32, ready to be trained on."""
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def write_json(path: Path, value: object) -> None:
    """Sorted keys, two spaces, a line feed at the end."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
