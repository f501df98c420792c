"""Breadcrumbs: against the formula and against mergekit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.merging.breadcrumbs import Breadcrumbs
from tests.support.merging import merged, merged_in_memory
from tests.support.sparse import (
    BUDGETS,
    SHAPES,
    by_mergekit,
    close,
    deltas,
    middle,
    models_without_ties,
    parity,
    restored,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from brickctl.merging.rescaling import Rescale

WEIGHTS = [0.5, 0.3, -1.2]
SETTINGS = [{"density": 0.5, "gamma": 0.01}, {"density": 0.9, "gamma": 0.3}, {"density": 1.0, "gamma": 0.2}]
CASES = [*((shape, "none") for shape in SHAPES), ((48, 64), "l1"), ((48, 64), "density")]


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def formula(method: Breadcrumbs, inputs: list[Tensor]) -> Tensor:
    total = torch.zeros_like(inputs[0])
    for delta, weight, own in zip(inputs, WEIGHTS, SETTINGS, strict=True):
        total += weight * restored(delta, middle(delta, **own), method.rescale, own["density"])
    return method.scale * total


def test_ten_numbers_by_hand() -> None:
    """Of ten the largest two go, then four stay; with density 0.9 only one can go."""
    delta = row(1, -10, 2, -9, 3, -8, 4, -7, 5, -6)
    found = merged_in_memory(Breadcrumbs(), [delta], settings=[{"density": 0.4, "gamma": 0.2}])
    assert found.tolist() == [[0, 0, 0, 0, 0, -8, 0, -7, 5, -6]]
    found = merged_in_memory(Breadcrumbs(), [delta], [2.0], [{"density": 0.9, "gamma": 0.2}])
    assert found.tolist() == [[2, 0, 4, -18, 6, -16, 8, -14, 10, -12]]


def test_equal_magnitudes_go_by_index() -> None:
    """Of five ones the first goes, the next three stay."""
    found = merged_in_memory(Breadcrumbs(), [row(1, -1, 1, -1, 1)], settings=[{"density": 0.6, "gamma": 0.2}])
    assert found.tolist() == [[0, -1, 1, -1, 0]]


@pytest.mark.parametrize(("shape", "rescale"), CASES, ids=str)
def test_the_formula_holds_for_every_shape(shape: tuple[int, ...], rescale: Rescale, tmp_path: Path) -> None:
    inputs, method = deltas(shape, 3), Breadcrumbs(rescale=rescale, scale=0.7)
    close(merged(tmp_path, method, inputs, WEIGHTS, SETTINGS), formula(method, inputs))


@pytest.mark.parametrize("shape", [(1100, 250), (2, 280_000)], ids=str)
def test_equal_magnitudes_go_by_index_through_all_blocks(shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs = [delta.mul(32).round().div(32) for delta in deltas(shape, 3)]
    close(merged(tmp_path, Breadcrumbs(), inputs, WEIGHTS, SETTINGS), formula(Breadcrumbs(), inputs))


@pytest.mark.parametrize(("shape", "rescale"), [*((shape, True) for shape in SHAPES), ((48, 64), False)], ids=str)
def test_mergekit_gives_the_same(shape: tuple[int, ...], *, rescale: bool, tmp_path: Path) -> None:
    ours = Breadcrumbs(rescale="l1" if rescale else "none", scale=0.7)
    settings = SETTINGS if math.prod(shape) > 1 else [{"density": 1.0, "gamma": 0.01}] * 3
    theirs = {"rescale": rescale, "lambda": 0.7}
    assert parity(tmp_path, ours, models_without_ties(shape, 3), WEIGHTS, settings, **theirs) <= 1e-6


def test_a_sum_may_be_divided_by_weights_that_do_not_cancel() -> None:
    inputs = deltas((2, 3), 2)
    found = merged_in_memory(Breadcrumbs(divide="weight"), inputs, [0.5, 1.5])
    close(found, (0.5 * inputs[0] + 1.5 * inputs[1]) / 2)
    assert "sum to 0" in (Breadcrumbs(divide="weight").refusal([1.0, -1.0]) or "")
    assert Breadcrumbs().refusal([1.0, -1.0]) is None


def test_a_gamma_that_drops_nothing_keeps_the_density() -> None:
    """floor(0.01 * 10) = 0: some versions of mergekit then kept nothing."""
    found = merged_in_memory(Breadcrumbs(), [row(*range(1, 11))], settings=[{"density": 0.3, "gamma": 0.01}])
    assert found.tolist() == [[0, 0, 0, 0, 0, 0, 0, 8, 9, 10]]


def test_one_entry_at_least_is_kept_where_mergekit_keeps_none() -> None:
    own = {"density": 0.1, "gamma": 0.5}
    assert merged_in_memory(Breadcrumbs(), [row(1, 2, 3, 4)], settings=[own]).tolist() == [[0, 2, 0, 0]]
    assert not by_mergekit("breadcrumbs", row(0, 0, 0, 0), [row(1, 2, 3, 4)], weight=1.0, **own).any()
    assert merged_in_memory(Breadcrumbs(), [row(7)], settings=[own]).item() == 7.0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("density", [1e-9, 0.5, 1.0])
def test_all_ends_zeros_and_opposites_have_a_result(density: float, gamma: float) -> None:
    """Whatever gamma says, as many are kept as the density says."""
    settings, delta = [{"density": density, "gamma": gamma}] * 2, torch.arange(1.0, 13).double().reshape(3, 4)
    kept = merged_in_memory(Breadcrumbs(), [delta], settings=settings[:1])
    assert int((kept != 0).sum()) == max(1, math.floor(density * 12))
    assert not merged_in_memory(Breadcrumbs(), [delta, -delta], settings=settings).any()
    assert not merged_in_memory(Breadcrumbs(rescale="l1"), [delta * 0], settings=settings[:1]).any()
    assert torch.isfinite(merged_in_memory(Breadcrumbs(rescale="l1"), [delta * 5e-324], settings=settings[:1])).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rescale", ["l1", "density", "none"])
def test_what_is_no_number_is_never_dropped(rescale: Rescale, value: float) -> None:
    found = merged_in_memory(
        Breadcrumbs(rescale=rescale), [row(1, value, 2, 3)], settings=[{"density": 0.5, "gamma": 0.3}]
    )
    assert not torch.isfinite(found[0, 1])


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = [delta.mul(64).round().div(64).float() for delta in deltas((1200, 300), 3)]
    usual = merged(tmp_path / "usual", Breadcrumbs(rescale="l1"), inputs, WEIGHTS, SETTINGS)
    assert torch.equal(
        merged(tmp_path / "other", Breadcrumbs(rescale="l1"), inputs, WEIGHTS, SETTINGS, **budget), usual
    )
