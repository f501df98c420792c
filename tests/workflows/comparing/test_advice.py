"""What is advised follows from figures, with the reason that they give."""

from __future__ import annotations

import pytest

from brickctl.analysis.interference import Interference
from brickctl.core.names import Alias
from brickctl.workflows.comparing.advice import WEIGHTS, Advice, advise

ONE, OTHER = Alias("one"), Alias("other")


def advised(cosine: float, norms: tuple[float, float] = (1.0, 1.0), conflicts: float = 0.5) -> Advice:
    first, second = norms
    squares = (first**2, second**2)
    found = Interference(squares=squares, dot=cosine * first * second, large=1000, opposite=round(1000 * conflicts))
    return advise(ONE, OTHER, found)


@pytest.mark.parametrize(
    ("found", "action", "reason"),
    [
        (advised(0.0), "merge", "neither is much louder"),
        (advised(1.0), "average", "they do the same to the base"),
        (advised(0.8), "average", "the same way (cosine 0.80)"),
        (advised(-0.4), "stack", "takes away what the other adds (cosine -0.40)"),
        (advised(0.0, (1.0, 2.9)), "stack", "`other` is 2.9 times as loud as `one`"),
        (advised(0.0, (2.9, 1.0)), "stack", "`one` is 2.9 times as loud as `other`"),
        (advised(-0.1, conflicts=0.6), "ties", "60% of the entries that are large in both have two signs"),
    ],
)
def test_the_first_thing_to_try_and_why(found: Advice, action: str, reason: str) -> None:
    assert found.action == action
    assert reason in found.reasons[0]


def test_only_sums_and_means_have_weights() -> None:
    assert advised(0.0).weights == WEIGHTS
    assert advised(0.8).weights == (0.5, 0.5)
    assert advised(0.0, (1.0, 9.0)).weights is None


def test_a_brick_that_does_nothing_is_named() -> None:
    assert advised(0.0, (0.0, 1.0)).reasons == ("`one` changes nothing",)
    assert advised(0.0, (1.0, 0.0)).reasons == ("`other` changes nothing",)


def test_what_is_no_adapter_must_become_one_before_it_is_stacked() -> None:
    loud = Interference(squares=(1.0, 9.0))
    assert advise(ONE, OTHER, loud, (OTHER,)).reasons[-1].endswith("`brickctl extract lora` makes one of `other`")
    assert advise(ONE, OTHER, loud) == advised(0.0, (1.0, 3.0))
    assert advise(ONE, OTHER, Interference(squares=(1.0, 1.0)), (OTHER,)) == advised(0.0)
