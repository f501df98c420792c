"""Choose the weights of the starter project's targets, on the validation split alone."""

import itertools
from pathlib import Path
from typing import Any

from evaluate import Evaluator, Scores
from merge import add_deltas, interpolate

MERGED = ("upper", "next")
ADAPTER_WEIGHTS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
EXPERT_WEIGHTS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

Trial = dict[str, Any]


def choose_adapter_weights(evaluator: Evaluator, folders: dict[str, Path]) -> tuple[Trial, list[Trial]]:
    """The weights of `upper` and `next` in their sum of deltas, and every pair that was tried."""
    names = (*MERGED, "copy")
    trials = []
    for weights in itertools.product(ADAPTER_WEIGHTS, repeat=len(MERGED)):
        named = dict(zip(MERGED, weights, strict=True))
        state = add_deltas(evaluator.base, {folders[name]: weight for name, weight in named.items()})
        trials.append({"weights": named, "scores": evaluator.scores(evaluator.load(state=state), names)})
    return best(trials), trials


def choose_expert_weight(evaluator: Evaluator, expert: Path) -> tuple[Trial, list[Trial]]:
    """The weight of the expert in a blend with the base, and every weight that was tried."""
    trials = []
    for weight in EXPERT_WEIGHTS:
        state = interpolate(evaluator.base, expert, weight)
        scores = evaluator.scores(evaluator.load(state=state), ("sort", "copy"))
        trials.append({"weights": {"base": round(1 - weight, 1), "sort": weight}, "scores": scores})
    return best(trials), trials


def best(trials: list[Trial]) -> Trial:
    """The trial whose weakest score is highest; among equals the highest sum, then the smallest weights."""

    def rank(trial: Trial) -> tuple[float, float, float]:
        scores: Scores = trial["scores"]
        return min(scores.values()), sum(scores.values()), -sum(trial["weights"].values())

    return max(trials, key=rank)
