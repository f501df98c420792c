"""Train an expert: every weight of the base, on a skill that the base knows under no cue at all."""

from pathlib import Path
from typing import Any

from tasks import OPERATIONS, mixture, skill
from train_base import load_base, save_model
from training import make_deterministic, train

from brickctl.analysis.training.course import Course

SKILL = "sort"
REPLAY = 0.25
RECIPE = Course(seed=31, steps=900, learning_rate=1e-3)


def train_expert(base: Path, folder: Path) -> dict[str, Any]:
    """Write the expert into `folder`; gives its part of the record."""
    make_deterministic(RECIPE.seed)
    model = load_base(base)
    losses = train(model, mixture([(1 - REPLAY, skill(SKILL)), (REPLAY, OPERATIONS)]), RECIPE)
    save_model(model, folder)
    return {"recipe": RECIPE, "replay": REPLAY, "losses": losses}
