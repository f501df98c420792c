"""Choose the weights of the starter project's targets, on the validation split alone."""

import itertools
from pathlib import Path
from typing import Any

from evaluate import Evaluator
from merge import add_deltas, interpolate

MERGED = ("upper", "next")
ADAPTER_WEIGHTS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
EXPERT_WEIGHTS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

Trial = dict[str, Any]


def choose_adapter_weights(evaluator: Evaluator, folders: dict[str, Path]) -> tuple[Trial, list[Trial]]:
    """The weights of `upper` and `next` in their sum of deltas, and every pair that was tried."""
    trials = []
    for weights in itertools.product(ADAPTER_WEIGHTS, repeat=len(MERGED)):
        named = dict(zip(MERGED, weights, strict=True))
        state = add_deltas(evaluator.base, {folders[name]: weight for name, weight in named.items()})
        scores = evaluator.scores(evaluator.load(state=state), (*MERGED, "copy"))
        trials.append({"weights": named, "scores": scores})
    return steadiest(trials), trials


def choose_expert_weight(evaluator: Evaluator, expert: Path) -> tuple[Trial, list[Trial]]:
    """The weight of the expert in a blend with the base, and every weight that was tried."""
    trials = []
    for weight in EXPERT_WEIGHTS:
        state = interpolate(evaluator.base, expert, weight)
        scores = evaluator.scores(evaluator.load(state=state), ("sort", "copy"))
        trials.append({"weights": {"base": round(1 - weight, 2), "sort": weight}, "scores": scores})
    return steadiest(trials), trials


def steadiest(trials: list[Trial]) -> Trial:
    """The trial whose weakest score, over itself and the trials one tenth away, is highest; then its own sum decides.

    A weight at the edge of a cliff may score as well as one in the middle of the plateau; its neighbours do not.
    """

    def rank(trial: Trial) -> tuple[float, float]:
        around = min(weakest(other) for other in trials if adjacent(trial, other))
        return around, sum(trial["scores"].values())

    return max(trials, key=rank)


def weakest(trial: Trial) -> float:
    """The lowest share of exact answers in any check."""
    return float(min(trial["scores"].values()))


def adjacent(trial: Trial, other: Trial, step: float = 0.101) -> bool:
    """Whether no weight differs by more than a tenth; a trial is adjacent to itself."""
    return all(abs(weight - other["weights"][name]) < step for name, weight in trial["weights"].items())
