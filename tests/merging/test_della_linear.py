"""DELLA: chances grow with the rank of a magnitude in its row; against the formula and against mergekit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.merging.della_linear import DellaLinear
from tests.support.merging import merged, merged_in_memory
from tests.support.sparse import (
    BUDGETS,
    SHAPES,
    by_mergekit,
    chances_by_rank,
    close,
    deltas,
    drawn_mask,
    inject_draws,
    models_without_ties,
    parity,
    restored,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from brickctl.merging.rescaling import Rescale

WEIGHTS = [0.5, 0.3, -1.2]
SETTINGS = [{"density": 0.5, "epsilon": 0.15}, {"density": 0.3, "epsilon": 0.2}, {"density": 1.0, "epsilon": 0.15}]
CASES = [*((shape, "l1") for shape in SHAPES), ((48, 64), "density"), ((48, 64), "none")]
FLAT = [(48, 64), (1000, 300), (2, 300_000), (301_000,)]
"""Shapes whose rows mergekit ranks as we do: it takes dimension 1 for the row, and divides 0 by 0 in a single one."""


def formula(method: DellaLinear, inputs: list[Tensor]) -> Tensor:
    total = torch.zeros_like(inputs[0])
    for number, (delta, weight, own) in enumerate(zip(inputs, WEIGHTS, SETTINGS, strict=True)):
        mask = drawn_mask(method, number, chances_by_rank(delta, **own), method.seed)
        total += weight * restored(delta, delta * mask, method.rescale, own["density"])
    return method.scale * total


def test_chances_by_hand() -> None:
    """The ranks of 3, -1, 2, 1 are 3, 0, 2, 1: of two equal ones the first counts as smaller."""
    chances = chances_by_rank(torch.tensor([[3.0, -1.0, 2.0, 1.0]], dtype=torch.float64), density=0.5, epsilon=0.3)
    close(chances, torch.tensor([[0.8, 0.2, 0.6, 0.4]], dtype=torch.float64))


def test_four_numbers_by_hand() -> None:
    """Draws of 17413, 34789, 63787 and 55765 against 0.95, 0.65, 0.85 and 0.75 of 65536: 62259, 42598, 55706, 49152."""
    delta = torch.tensor([[3.0, -1.0, 2.0, 1.0]], dtype=torch.float64)
    method = DellaLinear(rescale="none")
    assert merged_in_memory(method, [delta], settings=[{"density": 0.8, "epsilon": 0.15}]).tolist() == [[3, -1, 0, 0]]


@pytest.mark.parametrize(("shape", "rescale"), CASES, ids=str)
def test_the_formula_holds_for_every_shape(shape: tuple[int, ...], rescale: Rescale, tmp_path: Path) -> None:
    inputs, method = deltas(shape, 3), DellaLinear(rescale=rescale, seed=5, scale=0.7)
    close(merged(tmp_path, method, inputs, WEIGHTS, SETTINGS), formula(method, inputs))


def test_equal_magnitudes_are_ranked_by_index(tmp_path: Path) -> None:
    inputs = [delta.mul(32).round().div(32) for delta in deltas((200, 90), 3)]
    method = DellaLinear()
    close(merged(tmp_path, method, inputs, WEIGHTS, SETTINGS), formula(method, inputs))


@pytest.mark.parametrize(("shape", "rescale"), [*((shape, True) for shape in FLAT), ((48, 64), False)], ids=str)
def test_mergekit_gives_the_same_with_our_draws(
    shape: tuple[int, ...], *, rescale: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own chances decide, so the formula for them is compared too."""
    ours = DellaLinear(rescale="l1" if rescale else "none", scale=0.7)
    inject_draws(monkeypatch, ours)
    theirs = {"rescale": rescale, "lambda": 0.7}
    assert parity(tmp_path, ours, models_without_ties(shape, 3), WEIGHTS, SETTINGS, **theirs) <= 1e-6


def test_over_100_seeds_each_rank_is_kept_as_often_as_it_should_be() -> None:
    """In 20 rows of 30: 2000 draws a rank, each within five standard deviations, and all together."""
    (delta,) = deltas((20, 30), 1)
    own = {"density": 0.4, "epsilon": 0.2}
    method = [DellaLinear(seed=seed, rescale="density") for seed in range(100)]
    made = torch.stack([merged_in_memory(one, [delta], settings=[own]) for one in method])
    chances = chances_by_rank(delta, **own)
    rates = (made != 0).double().mean(0).gather(1, delta.abs().argsort(dim=1)).mean(0)
    wanted = torch.linspace(0.2, 0.6, 30, dtype=torch.float64)
    assert bool(((rates - wanted).abs() < 5 * (wanted * (1 - wanted) / 2000).sqrt()).all())
    shares = (made != 0).double().mean((1, 2))
    variance = float((chances * (1 - chances)).sum()) / 600**2
    assert abs(float(shares.mean()) - 0.4) < 4 * math.sqrt(variance / 100)
    assert abs(float(shares.var()) / variance - 1) < 4 * math.sqrt(2 / 99)
    values = made * 0.4 / delta
    assert abs(float(values.mean()) - 0.4) < 4 * math.sqrt(variance / 100)
    assert abs(float(values.var(0).sum() / (chances * (1 - chances)).sum()) - 1) < 0.05


def test_an_epsilon_that_leaves_0_to_1_is_cut_where_mergekit_refuses() -> None:
    delta = torch.linspace(1, 2, 5, dtype=torch.float64).reshape(1, 5)
    for density, same in ((0.1, 0.1), (0.95, 1 - 0.95)):
        wide, cut = ({"density": density, "epsilon": epsilon} for epsilon in (0.5, same))
        found = merged_in_memory(DellaLinear(), [delta], settings=[wide])
        assert torch.equal(found, merged_in_memory(DellaLinear(), [delta], settings=[cut]))
        with pytest.raises(ValueError, match="Epsilon must be chosen"):
            by_mergekit("della_linear", delta * 0, [delta], weight=1.0, **wide)


def test_the_only_entry_of_a_row_is_kept_with_the_density_where_mergekit_fails() -> None:
    column = torch.ones(4000, 1, dtype=torch.float64)
    found = merged_in_memory(DellaLinear(rescale="none"), [column], settings=[{"density": 0.3, "epsilon": 0.1}])
    assert abs(float(found.mean()) - 0.3) < 4 * math.sqrt(0.21 / 4000)
    with pytest.raises(RuntimeError, match="p_in >= 0"):
        by_mergekit("della_linear", column * 0, [column], weight=1.0, density=0.3, epsilon=0.1)


def test_rows_are_the_last_dimension_where_mergekit_takes_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws that keep the larger half of each row: ours are rows of two, theirs columns of three."""
    delta = torch.tensor([[[1.0, 6.0], [2.0, 5.0], [3.0, 4.0]]], dtype=torch.float64)
    chances = chances_by_rank(delta, density=0.5, epsilon=0.4)
    close(chances, torch.tensor([[[0.1, 0.9]] * 3], dtype=torch.float64))
    seen: list[Tensor] = []
    monkeypatch.setattr(torch, "bernoulli", lambda given: seen.append(given) or torch.ones_like(given))
    by_mergekit("della_linear", delta * 0, [delta], weight=1.0, density=0.5, epsilon=0.4)
    close(seen[0].double().round(decimals=6), torch.tensor([[[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]]], dtype=torch.float64))


@pytest.mark.parametrize("rescale", ["l1", "density", "none"])
@pytest.mark.parametrize("density", [1e-9, 0.5, 1.0])
def test_both_ends_of_the_density_and_zeros_have_a_result(rescale: Rescale, density: float) -> None:
    method, delta = DellaLinear(rescale=rescale), torch.ones(3, 4, dtype=torch.float64)
    settings = [{"density": density}]
    assert torch.isfinite(merged_in_memory(method, [delta], settings=settings)).all()
    assert not merged_in_memory(method, [torch.zeros_like(delta)], settings=settings).any()
    assert torch.isfinite(merged_in_memory(method, [delta * 5e-324], settings=settings)).all()
    assert torch.isfinite(merged_in_memory(method, [delta, -delta], [1.0, 1.0], settings * 2)).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rescale", ["l1", "density", "none"])
def test_what_is_no_number_is_never_dropped(rescale: Rescale, value: float) -> None:
    for seed in range(4):
        delta = torch.tensor([[1.0, 2.0, value, 4.0]], dtype=torch.float64)
        found = merged_in_memory(DellaLinear(rescale=rescale, seed=seed), [delta], settings=[{"density": 0.5}])
        assert not torch.isfinite(found[0, 2])


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = [delta.float() for delta in deltas((1200, 300), 3)]
    usual = merged(tmp_path / "usual", DellaLinear(), inputs, WEIGHTS, SETTINGS)
    assert torch.equal(merged(tmp_path / "other", DellaLinear(), inputs, WEIGHTS, SETTINGS, **budget), usual)
