"""Train the starter bricks, measure them, and write the registry that ships with brickctl.

    python registry/train/make.py OUTPUT

Steps and adapters are those of `brickctl train`, so brickctl has to be installed. OUTPUT receives `config.json`,
`index/`, `files/`, `templates/`, `README.md` and `record/`. About 20 minutes on one core. A stage whose record exists
is not run again: remove `record/NAME.json` to run it anew, and with it the records that follow from it: all for the
base, `weights.json` and `scores.json` for a brick. On the same machine with the same package versions the same bytes
come out; another processor may round differently, and digests then differ.
"""

import dataclasses
import json
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from choose import MERGED, choose_adapter_weights, choose_expert_weight
from evaluate import COUNTS, Evaluator, Scores
from make_registry import brick_folder, set_modes, write_index, write_template
from merge import add_deltas, interpolate
from report import write_readme
from tasks import Split
from train_adapter import RECIPES, train_adapter
from train_base import train_base
from train_expert import SKILL, train_expert
from transformers.utils.logging import disable_progress_bar

PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers")
BASE_BOUND, SKILL_BOUND, KEPT_BOUND = 0.02, 0.95, 0.90
"""Shares of exact answers: at most, more than, more than."""
PERPLEXITY_BOUND = 2.0
"""Per character; the `max` of the starter project's check."""


def main(registry: Path) -> None:
    """Every stage in order."""
    disable_progress_bar()
    train_bricks(registry)
    torch.set_num_threads(1)
    weights = once(registry, "weights", lambda: choose_weights(registry))["chosen"]
    scores = once(registry, "scores", lambda: measure(registry, weights))
    require_bounds(scores["test"], weights)
    set_modes(registry)
    write_index(registry)
    write_template(registry, weights)
    write_readme(registry, scores["test"], weights)


def once(registry: Path, name: str, stage: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record of a stage, which is run where it has none yet."""
    path = registry / "record" / f"{name}.json"
    if not path.exists():
        print(f"{name} ...", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stage(), indent=1, default=dataclasses.asdict) + "\n")
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def train_bricks(registry: Path) -> None:
    """The base first, for all others are trained on its rounded weights."""
    base = brick_folder(registry, "base")
    once(registry, "base", lambda: train_base(base) | {"environment": environment()})
    for name in RECIPES:
        once(registry, name, partial(train_adapter, name, base, brick_folder(registry, name)))
    once(registry, SKILL, partial(train_expert, base, brick_folder(registry, SKILL)))


def environment() -> dict[str, str]:
    """What the bytes depend on besides the seeds."""
    machine = {"processor": platform.machine(), "python": platform.python_version()}
    return machine | {name: version(name) for name in PACKAGES} | {"kernels": torch.backends.cpu.get_cpu_capability()}


def choose_weights(registry: Path) -> dict[str, Any]:
    """Weights by the validation split, and every trial."""
    evaluator = Evaluator(brick_folder(registry, "base"), Split.VALIDATION)
    folders = {name: brick_folder(registry, name) for name in RECIPES}
    assistant, assistants = choose_adapter_weights(evaluator, folders)
    sorter, sorters = choose_expert_weight(evaluator, brick_folder(registry, SKILL))
    return {"chosen": assistant["weights"] | sorter["weights"], "assistant": assistants, "sorter": sorters}


def measure(registry: Path, weights: dict[str, float]) -> dict[str, Any]:
    """All scores of all models, on validation and on test."""
    base = brick_folder(registry, "base")
    return {str(split): measure_split(registry, Evaluator(base, split), weights) for split in COUNTS}


def measure_split(registry: Path, evaluator: Evaluator, weights: dict[str, float]) -> dict[str, Scores]:
    """Base, each brick alone, and the merges of the starter project beside those that a default would give."""
    folders = {name: brick_folder(registry, name) for name in (*RECIPES, SKILL)}
    models = {"base": evaluator.load()}
    models |= {name: evaluator.load(adapter=folders[name]) for name in RECIPES}
    models[SKILL] = evaluator.load(model=folders[SKILL])
    for pair in ({name: weights[name] for name in MERGED}, dict.fromkeys(MERGED, 1.0), dict.fromkeys(MERGED, 0.5)):
        state = add_deltas(evaluator.base, {folders[name]: weight for name, weight in pair.items()})
        models[label(pair)] = evaluator.load(state=state)
    blend = interpolate(evaluator.base, folders[SKILL], weights[SKILL])
    models[label({name: weights[name] for name in ("base", SKILL)})] = evaluator.load(state=blend)
    return {name: evaluator.all_scores(model) for name, model in models.items()}


def label(weights: dict[str, float]) -> str:
    """A merge as its sum: `1.2 upper + 1.0 next`."""
    return " + ".join(f"{weight} {name}" for name, weight in weights.items())


def require_bounds(scores: dict[str, Scores], weights: dict[str, float]) -> None:
    """Refuse material that does not do what the README says of it."""
    skills = (*RECIPES, SKILL)
    merged = scores[label({name: weights[name] for name in MERGED})]
    blend = scores[label({name: weights[name] for name in ("base", SKILL)})]
    met = {
        "the base has no named skill": all(scores["base"][name] <= BASE_BOUND for name in skills),
        "each brick has its skill": all(scores[name][name] > SKILL_BOUND for name in skills),
        "each adapter still copies": all(scores[name]["copy"] > KEPT_BOUND for name in ("base", *RECIPES)),
        "the merge has both skills and copies": all(merged[name] > KEPT_BOUND for name in (*MERGED, "copy")),
        "the blend sorts": blend[SKILL] > KEPT_BOUND,
        "plain text is kept": all(model["perplexity"] < PERPLEXITY_BOUND for model in (merged, blend)),
    }
    if missed := [sentence for sentence, holds in met.items() if not holds]:
        sys.exit(f"not met on the test split: {'; '.join(missed)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
