"""One adapter of every type of PEFT, written by PEFT itself for a tiny model, every trained number of it random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peft import PeftType, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from tests.support.models import load, quietly, randomise

if TYPE_CHECKING:
    from pathlib import Path

MODULES = ["q_proj", "k_proj", "down_proj"]

ADAPTERS: dict[str, dict[str, Any]] = {
    "ADALORA": {"target_modules": MODULES, "total_step": 10, "init_r": 4, "target_r": 4, "lora_alpha": 6},
    "BEFT": {"target_modules": ["q_proj", "v_proj"]},
    "BOFT": {"target_modules": MODULES, "boft_block_size": 4},
    "C3A": {"target_modules": ["q_proj", "down_proj"], "block_size": 16},
    "DEFT": {"target_modules": MODULES, "r": 4},
    "DELORA": {"target_modules": MODULES, "r": 4, "rank_pattern": {"q_proj": 3}},
    "FOURIERFT": {"target_modules": MODULES, "n_frequency": 40},
    "GLORA": {"target_modules": MODULES, "r": 4},
    "GRALORA": {"target_modules": MODULES, "r": 4},
    "HIRA": {"target_modules": MODULES, "r": 4},
    "HRA": {"target_modules": MODULES, "r": 4},
    "IA3": {"target_modules": MODULES, "feedforward_modules": ["down_proj"]},
    "LN_TUNING": {"target_modules": ["input_layernorm", "norm"]},
    "LOHA": {"target_modules": MODULES, "r": 4, "alpha": 6, "rank_pattern": {"k_proj": 2}},
    "LOKR": {"target_modules": MODULES, "r": 2, "decompose_both": True, "alpha_pattern": {"q_proj": 3}},
    "LORA": {"target_modules": MODULES, "r": 4, "lora_alpha": 6},
    "MISS": {"target_modules": MODULES, "r": 4},
    "OFT": {"target_modules": MODULES, "oft_block_size": 4},
    "OSF": {"target_modules": MODULES, "effective_rank": 4},
    "PEANUT": {"target_modules": MODULES, "r": 4},
    "PVERA": {"target_modules": MODULES, "r": 4},
    "RANDLORA": {"target_modules": MODULES, "r": 4},
    "ROAD": {"target_modules": MODULES, "group_size": 16},
    "SHIRA": {"target_modules": MODULES, "r": 2},
    "SUPERTUNING": {"target_modules": MODULES, "sparsity": 0.9},
    "TRAINABLE_TOKENS": {"token_indices": [3, 50, 7]},
    "VBLORA": {"target_modules": MODULES, "r": 2, "vector_length": 16, "num_vectors": 8},
    "VERA": {"target_modules": MODULES, "r": 4},
    "WAVEFT": {"target_modules": MODULES, "n_frequency": 40},
}
"""Settings of every type that can be merged."""


def adapter_of(peft_type: str, base: Path, folder: Path, *, seed: int = 2, size: float = 0.1, **settings: Any) -> Path:
    """Save an adapter of this type, with PEFT."""
    chosen = {**ADAPTERS[peft_type], **settings}
    config = quietly(lambda: PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(peft_type)](**chosen))
    model = quietly(lambda: get_peft_model(load(base), config))
    randomise(model, seed, size)
    quietly(lambda: model.save_pretrained(folder))
    return folder
