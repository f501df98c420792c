"""Tiny models with random weights, adapters that PEFT itself wrote for them, and what PEFT makes of the two."""

from __future__ import annotations

import json
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VOCABULARY = 96
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_ARCHITECTURES: dict[str, tuple[type[Any], type[PreTrainedModel]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


def tiny_model(
    folder: Path, architecture: str = "llama", *, seed: int = 0, dtype: str = "float32", **settings: Any
) -> Path:
    """Save a model of three layers, about 50 thousand random parameters, norms and biases among them."""
    configuration, model_class = _ARCHITECTURES[architecture]
    torch.manual_seed(seed)
    model = model_class(configuration(**{**_SIZES, "tie_word_embeddings": False, **settings}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.1)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def tuned(base: Path, folder: Path, *, seed: int = 1, names: Callable[[str], bool] = lambda _: True) -> Path:
    """Save an expert: a copy of the base whose tensors of these names moved a little."""
    shutil.copytree(base, folder)
    generator = torch.Generator().manual_seed(seed)
    tensors = load_file(folder / "model.safetensors")
    for name in filter(names, tensors):
        noise = torch.randn(tensors[name].shape, generator=generator) * 0.01
        tensors[name] = (tensors[name].float() + noise).to(tensors[name].dtype)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def adapter(base: Path, folder: Path, *, seed: int = 2, size: float = 0.1, **settings: Any) -> Path:
    """Save an adapter with PEFT, every trained number of it random: B is not 0, and magnitudes are not the norms."""
    chosen = {"r": 4, "lora_alpha": 6, "target_modules": LINEAR, "task_type": "CAUSAL_LM", **settings}
    model = quietly(lambda: get_peft_model(load(base), LoraConfig(**chosen)))
    randomise(model, seed, size)
    quietly(lambda: model.save_pretrained(folder))
    return folder


def randomise(model: torch.nn.Module, seed: int, size: float) -> None:
    """Add noise to everything that is trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * size)


def load(folder: Path, dtype: str = "float32") -> PreTrainedModel:
    """The model as plain transformers loads it."""
    return quietly(lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval())


def load_with_adapter(base: Path, adapter_folder: Path, dtype: str = "float32") -> PeftModel:
    """The base with the adapter beside its weights, not merged."""
    return quietly(lambda: PeftModel.from_pretrained(load(base, dtype), adapter_folder).eval())


def merged_by_peft(base: Path, adapter_folder: Path) -> dict[str, Tensor]:
    """Every tensor of `merge_and_unload()`, in the names of the base."""
    merged: PreTrainedModel = quietly(load_with_adapter(base, adapter_folder).merge_and_unload)
    return dict(merged.state_dict())


def weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model folder, all shards together."""
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def worst_ratio(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest over all of our tensors of max|ours - theirs| / max|theirs|."""
    return max(
        float((tensor.double() - theirs[name].double()).abs().max() / theirs[name].double().abs().max())
        for name, tensor in ours.items()
    )


def logits(model: torch.nn.Module) -> Tensor:
    """What a model says about every position of one fixed prompt."""
    tokens = torch.arange(1, 25).unsqueeze(0) * 7 % VOCABULARY
    with torch.no_grad():
        said: Tensor = model(tokens).logits
    return said


def edit_config(folder: Path, file: str = "adapter_config.json", **changes: Any) -> Path:
    """Change fields of a configuration file."""
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def edit_tensors(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    """Replace the tensors of an adapter, or of a model in one file."""
    (path,) = folder.glob("*.safetensors")
    tensors = {name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}
    save_file(tensors, path, {"format": "pt"})
    return folder


def quietly(work: Callable[[], Any]) -> Any:
    """PEFT warns of tied weights, embeddings, seeds and more; the tests look at what comes out instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work()
