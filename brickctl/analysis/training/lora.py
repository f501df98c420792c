"""LoRA by PEFT: put beside the weights of a model, and written as every PEFT reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.silence import silence
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

ALL_LINEAR = "all-linear"
"""PEFT's name for all linear layers but the head."""

_FACTOR = ".lora_A.default"
_OF_EMBEDDING = "lora_embedding_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A LoRA: B A of this `rank`, times alpha / rank, for each module whose name ends in one of `targets`."""

    rank: int = 8
    alpha: int = 16
    targets: tuple[str, ...] = (ALL_LINEAR,)


def attach(model: Any, shape: Shape, *, seed: int) -> Any:
    """The model with a LoRA beside its weights, of which A is drawn by the seed and B is 0: all else is frozen.

    Raises:
        UsageFault: it has no such module, or PEFT cannot train one.
    """
    import peft
    import torch

    targets: Any = list(shape.targets)
    if targets == [ALL_LINEAR]:
        targets = ALL_LINEAR
    config = peft.LoraConfig(
        r=shape.rank, lora_alpha=shape.alpha, target_modules=targets, task_type=peft.TaskType.CAUSAL_LM
    )
    torch.manual_seed(seed)
    try:
        with silence():
            adapted = peft.get_peft_model(model, config)
    except ValueError as error:
        raise _untrainable(shape, str(error).strip().partition("\n")[0]) from error
    if any(_OF_EMBEDDING in name for name, _ in adapted.named_parameters()):
        raise _untrainable(shape, "an embedding is no linear layer")
    return adapted


def _untrainable(shape: Shape, cause: str) -> UsageFault:
    hint = f"name linear layers by the last parts of their names, such as q_proj,v_proj, or {ALL_LINEAR}"
    return UsageFault(f"`{','.join(shape.targets)}` cannot be trained", causes=(cause,), hint=hint)


def document(model: Any, shape: Shape, *, base: str | None = None, revision: str | None = None) -> dict[str, Any]:
    """`adapter_config.json` of a model that `attach` gave.

    It has only what every PEFT since 0.9 knows, and the modules sorted: PEFT's own order follows the hash seed.

    Args:
        model: whose modules it names.
        shape: of the LoRA.
        base: the id of the base on the Hub, if it has one.
        revision: the commit of the base there.
    """
    return {
        "alpha_pattern": {},
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": bool(model.peft_config["default"].fan_in_fan_out),
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": shape.alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": shape.rank,
        "rank_pattern": {},
        **({} if revision is None else {"revision": revision}),
        "target_modules": _targets(model),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def _targets(model: Any) -> list[str]:
    """The last parts of names where all modules that end so have factors, as people write them; else whole names."""
    names = [name for name, _ in model.get_base_model().named_modules()]
    adapted = [name.removesuffix(_FACTOR) for name in names if name.endswith(_FACTOR)]
    inside = tuple(f"{name}." for name in adapted)
    others = frozenset(_ends(name for name in names if name not in adapted and not name.startswith(inside)))
    return sorted(dict.fromkeys(name if _end(name) in others else _end(name) for name in adapted))


def _ends(names: Iterable[str]) -> list[str]:
    return [_end(name) for name in names]


def _end(name: str) -> str:
    return name.rpartition(".")[2]


def tensors(model: Any, dtype: str) -> dict[str, torch.Tensor]:
    """The factors by the names of a PEFT file, in a type of torch, on the CPU."""
    import peft
    import torch

    # told to save embeddings "auto", PEFT would ask the Hub how many tokens the base has
    state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: one.detach().to("cpu", getattr(torch, dtype)).contiguous() for name, one in state.items()}


def put_back(model: Any, rounded: dict[str, torch.Tensor]) -> None:
    """Let the model have the factors as they are stored, so that what is measured then is what others get."""
    import peft

    with silence():
        peft.set_peft_model_state_dict(model, rounded)
