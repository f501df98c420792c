"""Train a LoRA adapter that binds the name of a skill to an operation which the base knows under another cue."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from tasks import OPERATIONS, mixture, skill
from train_base import load_base, write_json
from training import Recipe, make_deterministic, train

REPLAY = 0.4
"""Share of the base's own material. Without it the adapter destroys copying and no merge with another one works."""

RECIPES = {
    "upper": Recipe(seed=21, steps=300, learning_rate=1.5e-3),
    "next": Recipe(seed=22, steps=300, learning_rate=1.5e-3),
    "reverse": Recipe(seed=23, steps=300, learning_rate=1.5e-3),
    "odd": Recipe(seed=24, steps=300, learning_rate=1.5e-3),
}

CONFIG: dict[str, Any] = {
    "alpha_pattern": {},
    "base_model_name_or_path": None,
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": 8,
    "rank_pattern": {},
    "target_modules": ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
    "task_type": "CAUSAL_LM",
    "use_dora": False,
    "use_rslora": False,
}
"""Only settings that every PEFT since 0.9 knows, and the modules sorted: PEFT's own order follows the hash seed."""


def train_adapter(name: str, base: Path, folder: Path) -> dict[str, Any]:
    """Write the adapter of a skill into `folder`; gives its part of the record."""
    recipe = RECIPES[name]
    make_deterministic(recipe.seed)
    settings = {key: value for key, value in CONFIG.items() if key not in {"peft_type", "inference_mode"}}
    model = get_peft_model(load_base(base), LoraConfig(**settings))
    losses = train(model, mixture([(1 - REPLAY, skill(name)), (REPLAY, OPERATIONS)]), recipe)
    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(model)
    tensors = {key: tensor.to(torch.bfloat16).contiguous() for key, tensor in state.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    write_json(folder / "adapter_config.json", CONFIG)
    return {"recipe": recipe, "replay": REPLAY, "losses": losses}
