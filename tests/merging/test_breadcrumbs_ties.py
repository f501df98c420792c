"""Breadcrumbs with TIES: against the formula and against mergekit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.merging.breadcrumbs_ties import BreadcrumbsTies
from tests.support.merging import merged, merged_in_memory
from tests.support.sparse import BUDGETS, SHAPES, close, deltas, elected, middle, models_without_ties, parity

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from brickctl.merging.election import Divide, Elect

WEIGHTS = [0.5, 0.3, 1.2]
SETTINGS = [{"density": 0.5, "gamma": 0.01}, {"density": 0.9, "gamma": 0.3}, {"density": 1.0, "gamma": 0.2}]
PARITY = [*((shape, True) for shape in SHAPES), ((48, 64), False)]


def formula(method: BreadcrumbsTies, inputs: list[Tensor]) -> Tensor:
    kept = [middle(delta, **own) for delta, own in zip(inputs, SETTINGS, strict=True)]
    return method.scale * elected(kept, WEIGHTS, elect=method.elect, divide=method.divide)


def test_two_deltas_by_hand() -> None:
    """Of each four the largest goes and two stay: (0, 3, 2, 0) and (0, -1, 3, 0); the sums 2 and 5 elect plus."""
    inputs = [torch.tensor([[4.0, 3, 2, 1]]).double(), torch.tensor([[0.0, -1, 3, 4]]).double()]
    settings = [{"density": 0.5, "gamma": 0.25}] * 2
    assert merged_in_memory(BreadcrumbsTies(), inputs, settings=settings).tolist() == [[0, 3, 5, 0]]
    mean = merged_in_memory(BreadcrumbsTies(divide="count"), inputs, settings=settings)
    assert mean.tolist() == [[0, 3, 2.5, 0]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_formula_holds_for_every_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs, method = deltas(shape, 3), BreadcrumbsTies(scale=0.7)
    close(merged(tmp_path, method, inputs, WEIGHTS, SETTINGS), formula(method, inputs))


@pytest.mark.parametrize(("elect", "divide"), [("unweighted", "count"), ("count", "weight"), ("weighted", "weight")])
def test_every_variant_is_what_it_says(elect: Elect, divide: Divide, tmp_path: Path) -> None:
    inputs, method = deltas((60, 70), 3), BreadcrumbsTies(elect=elect, divide=divide)
    close(merged(tmp_path, method, inputs, WEIGHTS, SETTINGS), formula(method, inputs))


@pytest.mark.parametrize(("shape", "normalize"), PARITY, ids=str)
def test_mergekit_gives_the_same(shape: tuple[int, ...], *, normalize: bool, tmp_path: Path) -> None:
    ours = BreadcrumbsTies(divide="weight" if normalize else "none", rescale="l1", scale=0.7)
    settings = SETTINGS if math.prod(shape) > 1 else [{"density": 1.0, "gamma": 0.01}] * 3
    theirs = {"normalize": normalize, "rescale": True, "lambda": 0.7}
    assert parity(tmp_path, ours, models_without_ties(shape, 3), WEIGHTS, settings, **theirs) <= 1e-6


@pytest.mark.parametrize("elect", ["weighted", "unweighted", "count"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_vanishes(elect: Elect, value: float) -> None:
    others = [torch.full((1, 4), -math.copysign(1.0, value), dtype=torch.float64)] * 2
    hostile = torch.full((1, 4), value, dtype=torch.float64)
    settings = [{"density": 0.5}, *[{"density": 1.0}] * 2]
    assert not torch.isfinite(merged_in_memory(BreadcrumbsTies(elect=elect), [hostile, *others], None, settings)).any()


def test_zeros_and_opposites_have_a_result() -> None:
    delta = torch.arange(1.0, 13).double().reshape(3, 4)
    settings = [{"density": 0.5, "gamma": 0.25}] * 2
    assert not merged_in_memory(BreadcrumbsTies(), [delta * 0, delta * 0], settings=settings).any()
    kept = merged_in_memory(BreadcrumbsTies(), [delta, -delta], settings=settings)
    assert kept.flatten().tolist() == [0, 0, 0, 4, 5, 6, 7, 8, 9, 0, 0, 0]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = [delta.mul(64).round().div(64).float() for delta in deltas((1200, 300), 3)]
    usual = merged(tmp_path / "usual", BreadcrumbsTies(), inputs, WEIGHTS, SETTINGS)
    assert torch.equal(merged(tmp_path / "other", BreadcrumbsTies(), inputs, WEIGHTS, SETTINGS, **budget), usual)
