"""Train a LoRA adapter that binds the name of a skill to an operation which the base knows under another cue."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tasks import OPERATIONS, mixture, skill
from train_base import load_base, write_json
from training import make_deterministic, train

from brickctl.analysis.training.course import Course
from brickctl.analysis.training.lora import Shape, attach, document, tensors

REPLAY = 0.4
"""Share of the base's own material. Without it the adapter destroys copying and no merge with another one works."""

RECIPES = {
    "upper": Course(seed=21, steps=300, learning_rate=1.5e-3),
    "next": Course(seed=22, steps=300, learning_rate=1.5e-3),
    "reverse": Course(seed=23, steps=300, learning_rate=1.5e-3),
    "odd": Course(seed=24, steps=300, learning_rate=1.5e-3),
}

SHAPE = Shape(rank=8, alpha=16)


def train_adapter(name: str, base: Path, folder: Path) -> dict[str, Any]:
    """Write the adapter of a skill into `folder`; gives its part of the record."""
    course = RECIPES[name]
    make_deterministic(course.seed)
    model = attach(load_base(base), SHAPE, seed=course.seed)
    losses = train(model, mixture([(1 - REPLAY, skill(name)), (REPLAY, OPERATIONS)]), course)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors(model, "bfloat16"), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    write_json(folder / "adapter_config.json", document(model, SHAPE))
    return {"recipe": course, "replay": REPLAY, "losses": losses}
