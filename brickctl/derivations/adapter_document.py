"""`adapter_config.json` of a LoRA that was extracted: what PEFT needs to find the modules and scale by 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.derivations.linear_modules import Module, is_causal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.derivations.derivation import Bench

_HUB = "hf:"


def adapter_document(
    bench: Bench, modules: Mapping[str, Module], ranks: Mapping[str, int], saved: Sequence[str]
) -> Mapping[str, Any]:
    """The configuration, from the rank of each module that has factors, and the modules that are saved whole."""
    largest = max(ranks.values())
    others = {path: rank for path, rank in ranks.items() if rank != largest}
    base = bench.ingredients.base_brick.pin
    is_hub = base.source.startswith(_HUB) and base.subfolder is None
    return {
        "alpha_pattern": others,
        "base_model_name_or_path": base.source.removeprefix(_HUB) if is_hub else None,
        "bias": "none",
        "ensure_weight_tying": bool(tied_to(bench, saved)),
        "fan_in_fan_out": any(modules[path] is Module.TRANSPOSED for path in ranks),
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": largest,
        "lora_dropout": 0.0,
        "modules_to_save": list(saved) or None,
        "peft_type": "LORA",
        "r": largest,
        "rank_pattern": others,
        "revision": base.commit if is_hub else None,
        "target_modules": _targets(modules, ranks),
        "task_type": "CAUSAL_LM" if is_causal(bench.ingredients.base) else None,
        "use_dora": False,
        "use_rslora": False,
    }


def _targets(modules: Mapping[str, Module], ranks: Mapping[str, int]) -> list[str]:
    """The last parts of names where all modules that end so have factors, as people write them; else whole names."""
    targets: dict[str, None] = {}
    for path in ranks:
        end = path.rpartition(".")[2]
        others = (one for one in modules if one.rpartition(".")[2] == end)
        targets[end if all(one in ranks for one in others) else path] = None
    return sorted(targets)


def tied_to(bench: Bench, saved: Sequence[str]) -> tuple[str, ...]:
    """Heads that share a saved embedding in the base and in the model; PEFT keeps one tensor for each of the two."""
    shared = {head: name for head, name in bench.start.ties.items() if bench.ingredients.base.ties.get(head) == name}
    return tuple(head for head, name in shared.items() if name.removesuffix(".weight") in saved)
