"""The loss by the share of neurons that are on."""

from __future__ import annotations

import math

import pytest

from brickctl.analysis.ffn import find_ffns
from brickctl.analysis.perplexity import mean_losses
from brickctl.analysis.splitting.curves import Trial, split_curves
from brickctl.analysis.splitting.dividing import Cut
from tests.support.grouped import GROUPS, grouped_llama, rows


def test_curves_are_measured_for_every_way_router_and_share() -> None:
    """Of 32 neurons in 4 groups, a quarter, half and three quarters; 8 shared, in 4 groups of 6: 14 and 20 and 26."""
    model = grouped_llama()
    texts = {"one": rows(2, seed=1), "two": rows(1, length=20, seed=2)}
    cuts = (Cut(method="coactivation", groups=GROUPS), Cut(method="shared", groups=GROUPS, shared=0.25))
    trial = Trial(heard=rows(), texts=texts, routers=("oracle", "linear"), shares=(0.5, 1.0))
    curves = split_curves(model, find_ffns(model), cuts, trial)

    found = [(one.cut.method, one.router, one.active, one.share) for one in curves.points]
    assert found == [
        *(("coactivation", router, *step) for router in ("oracle", "linear") for step in ((2, 0.5), (4, 1.0))),
        *(("shared", router, *step) for router in ("oracle", "linear") for step in ((1, 14 / 32), (4, 1.0))),
    ]
    assert curves.tokens == (58, 19)
    for point in curves.points:
        if point.share == 1.0:
            assert point.losses == curves.dense
        else:
            assert point.losses != curves.dense
    assert mean_losses(model, tuple(texts.values())) == curves.dense


def test_the_document_has_means_over_tokens_and_their_perplexity() -> None:
    model = grouped_llama()
    trial = Trial(heard=rows(), texts={"a": rows(2), "b": rows(1, 20)}, routers=("oracle",), shares=(0.5,))
    document = split_curves(model, find_ffns(model), [Cut(method="random", groups=8)], trial).document()
    (row,) = document["curves"]
    assert row["loss"] == pytest.approx((58 * row["by_label"]["a"] + 19 * row["by_label"]["b"]) / 77)
    assert row["perplexity"] == math.exp(row["loss"])
    assert (row["method"], row["groups"], row["router"], row["active"], row["share"]) == ("random", 8, "oracle", 4, 0.5)
    assert document["dense"] != row["loss"]


@pytest.mark.parametrize(
    ("cut", "share", "active"),
    [
        (Cut(method="random", groups=16), 0.5, 8),
        (Cut(method="random", groups=16), 0.01, 1),
        (Cut(method="shared", groups=64, shared=0.125), 0.5, 27),
        (Cut(method="shared", groups=64, shared=0.125), 1.0, 64),
    ],
)
def test_at_most_the_share_of_neurons_is_on(cut: Cut, share: float, active: int) -> None:
    """192 shared of 1536, and 27 groups of 21: 759 neurons, where half would be 768."""
    assert cut.active_groups(share, 1536) == active
