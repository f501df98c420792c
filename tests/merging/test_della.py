"""DELLA with election: against the formula and against mergekit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.merging.della import Della
from tests.support.merging import merged, merged_in_memory
from tests.support.sparse import (
    BUDGETS,
    SHAPES,
    agree_in_distribution,
    by_mergekit,
    chances_by_rank,
    close,
    deltas,
    drawn_mask,
    elected,
    inject_draws,
    models,
    models_without_ties,
    parity,
    restored,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from brickctl.merging.election import Divide, Elect

WEIGHTS = [0.5, 0.3, 1.2]
SETTINGS = [{"density": 0.5, "epsilon": 0.15}, {"density": 0.3, "epsilon": 0.2}, {"density": 1.0, "epsilon": 0.15}]
PARITY = [*((shape, True) for shape in [(48, 64), (1000, 300), (2, 300_000), (301_000,)]), ((48, 64), False)]


def formula(method: Della, inputs: list[Tensor]) -> Tensor:
    thinned = []
    for number, (delta, own) in enumerate(zip(inputs, SETTINGS, strict=True)):
        mask = drawn_mask(method, number, chances_by_rank(delta, **own), method.seed)
        thinned.append(restored(delta, delta * mask, method.rescale, own["density"]))
    return method.scale * elected(thinned, WEIGHTS, elect=method.elect, divide=method.divide)


def test_two_rows_by_hand() -> None:
    """With density 1 everything is kept: (1 * 4 + 3 * 2) / 4 = 2.5, and -1 alone, which outweighs 2."""
    inputs = [torch.tensor([[4.0, 2.0]], dtype=torch.float64), torch.tensor([[2.0, -1.0]], dtype=torch.float64)]
    assert merged_in_memory(Della(), inputs, [1.0, 3.0]).tolist() == [[2.5, -1.0]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_formula_holds_for_every_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs, method = deltas(shape, 3), Della(seed=3, scale=0.7)
    close(merged(tmp_path, method, inputs, WEIGHTS, SETTINGS), formula(method, inputs))


@pytest.mark.parametrize(("elect", "divide"), [("unweighted", "count"), ("count", "weight"), ("weighted", "none")])
def test_every_variant_is_what_it_says(elect: Elect, divide: Divide, tmp_path: Path) -> None:
    inputs, method = deltas((60, 70), 3), Della(elect=elect, divide=divide, rescale="density")
    close(merged(tmp_path, method, inputs, WEIGHTS, SETTINGS), formula(method, inputs))


@pytest.mark.parametrize(("shape", "normalize"), PARITY, ids=str)
def test_mergekit_gives_the_same_with_our_draws(
    shape: tuple[int, ...], *, normalize: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Della(divide="weight" if normalize else "none")
    inject_draws(monkeypatch, ours)
    assert parity(tmp_path, ours, models_without_ties(shape, 3), WEIGHTS, SETTINGS, normalize=normalize) <= 1e-6


def test_over_100_seeds_results_are_distributed_as_those_of_mergekit() -> None:
    base, tuned = models((20, 30), 2)
    exact = [model.double() - base.double() for model in tuned]
    own = {"density": 0.4, "epsilon": 0.2}
    ours, theirs = [], []
    for seed in range(100):
        torch.manual_seed(seed)
        ours.append(base + merged_in_memory(Della(seed=seed), exact, [1.0, 0.6], [own] * 2))
        theirs.append(by_mergekit("della", base, tuned, weight=[1.0, 0.6], **own))
    agree_in_distribution(ours, theirs)


@pytest.mark.parametrize("elect", ["weighted", "unweighted", "count"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_vanishes(elect: Elect, value: float) -> None:
    others = [torch.full((1, 4), -math.copysign(1.0, value), dtype=torch.float64)] * 2
    hostile = torch.full((1, 4), value, dtype=torch.float64)
    for rescale in ("l1", "none"):
        method = Della(elect=elect, rescale=rescale)
        found = merged_in_memory(method, [hostile, *others], settings=[{"density": 0.5}, *[{"density": 1.0}] * 2])
        assert not torch.isfinite(found).any()


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = [delta.float() for delta in deltas((1200, 300), 3)]
    usual = merged(tmp_path / "usual", Della(), inputs, WEIGHTS, SETTINGS)
    assert torch.equal(merged(tmp_path / "other", Della(), inputs, WEIGHTS, SETTINGS, **budget), usual)
