"""DARE with TIES: against the formula, against mergekit and PEFT, and in a build as the worked example has it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from peft.utils import merge_utils

from brickctl.core.parameters import defaults
from brickctl.merging.dare_ties import DareTies
from tests.support.building import build, manifest
from tests.support.merging import merged, merged_in_memory
from tests.support.models import tiny_model, tuned, weights
from tests.support.sparse import (
    BUDGETS,
    SHAPES,
    agree_in_distribution,
    by_mergekit,
    close,
    deltas,
    drawn_mask,
    elected,
    inject_draws,
    models,
    parity,
    restored,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from brickctl.merging.election import Divide, Elect
    from brickctl.merging.rescaling import Rescale

WEIGHTS = [0.5, 0.3, 1.2]
DENSITIES = [{"density": 0.5}, {"density": 0.2}, {"density": 1.0}]
PARITY = [*((shape, True) for shape in SHAPES), ((48, 64), False)]


def formula(method: DareTies, inputs: list[Tensor]) -> Tensor:
    thinned = []
    for number, (delta, own) in enumerate(zip(inputs, DENSITIES, strict=True)):
        density = own["density"]
        mask = drawn_mask(method, number, torch.full_like(delta, density), method.seed) if density < 1 else 1.0
        thinned.append(restored(delta, delta * mask, method.rescale, density))
    return method.scale * elected(thinned, WEIGHTS, elect=method.elect, divide=method.divide)


def test_the_defaults_are_those_of_the_worked_example() -> None:
    expected = {"seed": 0, "scale": 1.0, "rescale": "l1", "elect": "weighted", "divide": "weight"}
    assert defaults(DareTies).document() == expected


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_formula_holds_for_every_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs, method = deltas(shape, 3), DareTies(seed=3, scale=0.7)
    close(merged(tmp_path, method, inputs, WEIGHTS, DENSITIES), formula(method, inputs))


@pytest.mark.parametrize("rescale", ["l1", "density", "none"])
@pytest.mark.parametrize(("elect", "divide"), [("unweighted", "count"), ("count", "weight"), ("weighted", "none")])
def test_every_variant_is_what_it_says(elect: Elect, divide: Divide, rescale: Rescale, tmp_path: Path) -> None:
    inputs, method = deltas((60, 70), 3), DareTies(elect=elect, divide=divide, rescale=rescale)
    close(merged(tmp_path, method, inputs, WEIGHTS, DENSITIES), formula(method, inputs))


@pytest.mark.parametrize(("shape", "normalize"), PARITY, ids=str)
def test_mergekit_gives_the_same_with_our_masks(
    shape: tuple[int, ...], *, normalize: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = DareTies(divide="weight" if normalize else "none")
    inject_draws(monkeypatch, ours)
    assert parity(tmp_path, ours, models(shape, 3), WEIGHTS, DENSITIES, normalize=normalize) <= 1e-6


def test_peft_gives_the_same_with_our_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = DareTies(rescale="density", elect="unweighted", divide="count")
    inject_draws(monkeypatch, ours)
    inputs = [delta.float() for delta in deltas((100, 80), 3)]
    expected = merge_utils.dare_ties(inputs, torch.tensor(WEIGHTS), 0.4)
    found = merged(tmp_path, ours, inputs, WEIGHTS, [{"density": 0.4}] * 3)
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-6


def test_over_100_seeds_results_are_distributed_as_those_of_mergekit() -> None:
    base, tuned_ones = models((20, 30), 2)
    exact = [model.double() - base.double() for model in tuned_ones]
    ours, theirs = [], []
    for seed in range(100):
        torch.manual_seed(seed)
        ours.append(base + merged_in_memory(DareTies(seed=seed), exact, [1.0, 0.6], [{"density": 0.4}] * 2))
        theirs.append(by_mergekit("dare_ties", base, tuned_ones, weight=[1.0, 0.6], density=0.4, normalize=True))
    agree_in_distribution(ours, theirs)


@pytest.mark.parametrize("elect", ["weighted", "unweighted", "count"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_vanishes(elect: Elect, value: float) -> None:
    others = [torch.full((1, 4), -math.copysign(1.0, value), dtype=torch.float64)] * 2
    hostile = torch.full((1, 4), value, dtype=torch.float64)
    for rescale in ("l1", "none"):
        method = DareTies(elect=elect, rescale=rescale)
        found = merged_in_memory(method, [hostile, *others], settings=[{"density": 0.5}, *[{"density": 1.0}] * 2])
        assert not torch.isfinite(found).any()


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = [delta.float() for delta in deltas((1200, 300), 3)]
    usual = merged(tmp_path / "usual", DareTies(), inputs, WEIGHTS, DENSITIES)
    assert torch.equal(merged(tmp_path / "other", DareTies(), inputs, WEIGHTS, DENSITIES, **budget), usual)


def test_a_build_keeps_ties_and_asks_no_order_of_bricks(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    first, second = (tuned(base, tmp_path / name, seed=seed) for seed, name in ((1, "a"), (2, "b")))
    made = []
    for number, bricks in enumerate(({"a": first, "b": second}, {"z": first, "b": second})):
        shares = ", ".join(f'{{ brick = "{name}", weight = 0.5, density = 0.5 }}' for name in reversed(bricks))
        apply = f'{{ op = "merge", method = "dare_ties", seed = 1, bricks = [{shares}] }}'
        made.append(weights(build(manifest(base, bricks, apply), tmp_path / f"out{number}")))
    assert "lm_head.weight" not in made[0]
    assert made[0].keys() == weights(base).keys()
    assert all(torch.equal(made[1][name], tensor) for name, tensor in made[0].items())
    assert not torch.equal(made[0]["model.norm.weight"], weights(base)["model.norm.weight"])
