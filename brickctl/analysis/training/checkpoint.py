"""Where a training stands: one file with all that goes on from there, whole or not there at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.errors import IntegrityFault
from brickctl.sources.atomic import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from brickctl.analysis.training.training import Training

FILE = "checkpoint.safetensors"

_PARAMETER, _MEMORY, _LOSSES = "parameter/", "memory/", "losses"
_RANDOM_HERE, _RANDOM_THERE = "random/cpu", "random/cuda"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that was read: what the training was `about`, its `steps` so far, the loss of each, and all the rest."""

    about: Mapping[str, Any]
    steps: int
    losses: Sequence[float]
    tensors: Mapping[str, torch.Tensor]


def save(path: Path, training: Training, losses: Sequence[float], about: Mapping[str, Any]) -> None:
    """Write parameters, what the optimiser remembers, random numbers, and the losses so far; flushed to the disk.

    `about` is JSON that says what is trained and how; it comes back as it is.
    """
    from safetensors.torch import save as encoded

    metadata = {"about": json.dumps(about), "steps": str(training.step)}
    state = {name: one.detach().cpu().contiguous() for name, one in _state(training, losses).items()}
    write_atomically(path, encoded(state, metadata), flush=True)


def read(path: Path) -> Checkpoint | None:
    """What the file has; None where there is none.

    Raises:
        IntegrityFault: it is damaged, or of something else.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        return _parsed(said, tensors)
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        hint = "begin anew with --restart"
        raise IntegrityFault(f"`{path}` cannot be read", causes=(str(error),), hint=hint) from error


def _parsed(said: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> Checkpoint:
    """What is in a file; raises KeyError or ValueError where that cannot be."""
    about, steps, losses = json.loads(said["about"]), int(said["steps"]), tensors[_LOSSES]
    if not isinstance(about, dict) or losses.shape != (steps,) or not losses.isfinite().all():
        raise ValueError("it does not say of each step what the loss was")
    return Checkpoint(about, steps, losses.tolist(), tensors)


def restore(checkpoint: Checkpoint, training: Training) -> None:
    """Let a training of the same model go on from there.

    Raises:
        IntegrityFault: it was of another model.
    """
    import torch

    tensors = checkpoint.tensors
    try:
        _require_steps(checkpoint, training)
        with torch.no_grad():
            for name, parameter in training.trained.items():
                parameter.copy_(_like(parameter, tensors, _PARAMETER + name))
                training.optimizer.state[parameter] = {
                    "step": torch.tensor(float(checkpoint.steps)),
                    **{
                        key: _like(parameter, tensors, f"{_MEMORY}{key}/{name}").to(parameter.device, copy=True)
                        for key in ("exp_avg", "exp_avg_sq")
                    },
                }
        torch.set_rng_state(tensors[_RANDOM_HERE])
        if training.device.type == "cuda" and _RANDOM_THERE in tensors:
            torch.cuda.set_rng_state(tensors[_RANDOM_THERE], training.device)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        hint = "begin anew with --restart"
        raise IntegrityFault("the checkpoint is of another training", causes=(str(error),), hint=hint) from error
    training.step = checkpoint.steps


def _require_steps(checkpoint: Checkpoint, training: Training) -> None:
    if not 0 < checkpoint.steps <= training.course.steps:
        raise ValueError(f"it says {checkpoint.steps} of {training.course.steps} steps")


def _like(parameter: torch.Tensor, tensors: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """The tensor of that name: of the shape and type of the parameter, since torch would stretch and round others."""
    found = tensors[name]
    if found.shape != parameter.shape or found.dtype != parameter.dtype:
        wanted = f"{parameter.dtype} of {tuple(parameter.shape)}"
        raise ValueError(f"`{name}` is {found.dtype} of {tuple(found.shape)}, not {wanted}")
    if not found.isfinite().all():
        raise ValueError(f"`{name}` is not finite")
    return found


def _state(training: Training, losses: Sequence[float]) -> dict[str, torch.Tensor]:
    import torch

    state = {_RANDOM_HERE: torch.get_rng_state(), _LOSSES: torch.tensor(losses, dtype=torch.float64)}
    if training.device.type == "cuda":
        state[_RANDOM_THERE] = torch.cuda.get_rng_state(training.device)
    for name, parameter in training.trained.items():
        state[_PARAMETER + name] = parameter
        for key, one in training.optimizer.state[parameter].items():
            state[f"{_MEMORY}{key}/{name}"] = one
    return state
