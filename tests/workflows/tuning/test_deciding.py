"""What held-out data has to say before anything is written."""

from __future__ import annotations

import math

import pytest

from brickctl.analysis.checks.check import CheckKind, Gate
from brickctl.analysis.checks.exact_match import ExactMatch
from brickctl.analysis.checks.lm_eval import LmEval
from brickctl.analysis.checks.measured import Bar, Good
from brickctl.analysis.checks.perplexity import Perplexity
from brickctl.core.names import Alias
from brickctl.workflows.checking.score import Score
from brickctl.workflows.tuning.deciding import HeldOut, is_better

NOBODY = Alias("assistant")


def pair(kind: CheckKind, before: float, after: float, *, good: Good = "min", bar: float | None = None) -> HeldOut:
    where = math.inf if good == "max" else -math.inf
    gate = Gate(name="a", target=NOBODY, kind=kind, kind_name="k", bar=Bar(good, where if bar is None else bar))
    first, second = (Score(check=gate, model=NOBODY, value=value, count=1) for value in (before, after))
    return HeldOut(before=first, after=second)


@pytest.mark.parametrize(
    ("one", "gain"),
    [
        (pair(ExactMatch(), 0.5, 0.75), 0.25),
        (pair(Perplexity(), 4.0, 3.0, good="max"), 0.25),
        (pair(LmEval(task="acc"), 0.5, 0.75), 0.5),
        (pair(LmEval(task="word_perplexity"), 4.0, 6.0, good="max"), -0.5),
        (pair(LmEval(task="word_perplexity"), 4.0, 3.0, good="max"), 0.25),
        (pair(Perplexity(), math.inf, 3.0, good="max"), 1.0),
        (pair(Perplexity(), 3.0, math.inf, good="max"), -1.0),
        (pair(Perplexity(), math.inf, math.inf, good="max"), 0.0),
    ],
)
def test_a_gain_goes_the_way_that_is_good_for_the_check(one: HeldOut, gain: float) -> None:
    assert one.gain == gain
    assert is_better([one]) == (gain > 0.0)


def test_a_check_that_is_lost_weighs_more_than_any_gain() -> None:
    lost, won = pair(ExactMatch(), 0.9, 0.8, bar=0.85), pair(ExactMatch(), 0.0, 1.0)
    assert lost.is_lost
    assert not is_better([lost, won])
    assert not is_better([pair(ExactMatch(), 0.9, 0.9)])
