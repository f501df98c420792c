"""Dense merges in a few lines, as a reference: sums in float32, one rounding to bfloat16 at the end."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

State = dict[str, Tensor]
PREFIX = "base_model.model."


def adapter_delta(folder: Path) -> State:
    """The dense delta of a LoRA adapter by the name of the weight it changes: (alpha / r) B A, in float32."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    scale = config["lora_alpha"] / config["r"]
    return {
        name.removeprefix(PREFIX).replace("lora_A.", ""): scale
        * (tensors[name.replace("lora_A", "lora_B")].float() @ down.float())
        for name, down in tensors.items()
        if "lora_A" in name
    }


def add_deltas(base: Path, weights: Mapping[Path, float]) -> State:
    """Task arithmetic: base + sum over adapters of weight * delta."""
    model = {name: tensor.float() for name, tensor in load_file(base / "model.safetensors").items()}
    for folder, weight in weights.items():
        for name, delta in adapter_delta(folder).items():
            model[name] += weight * delta
    return {name: tensor.to(torch.bfloat16) for name, tensor in model.items()}


def interpolate(base: Path, expert: Path, weight: float) -> State:
    """Linear blend: (1 - weight) * base + weight * expert."""
    first, second = load_file(base / "model.safetensors"), load_file(expert / "model.safetensors")
    return {
        name: ((1 - weight) * tensor.float() + weight * second[name].float()).to(torch.bfloat16)
        for name, tensor in first.items()
    }
