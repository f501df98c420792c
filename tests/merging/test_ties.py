"""TIES and its variants: against the formula, against mergekit, and against PEFT."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from peft.utils import merge_utils

from brickctl.errors import BrickctlError
from brickctl.merging.ties import Ties
from tests.support.merging import merged, merged_in_memory
from tests.support.sparse import (
    BUDGETS,
    SHAPES,
    by_mergekit,
    close,
    deltas,
    elected,
    models,
    parity,
    restored,
    trimmed,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from brickctl.merging.election import Divide, Elect

WEIGHTS = [0.5, 0.3, 1.2]
DENSITIES = [{"density": 0.5}, {"density": 0.2}, {"density": 1.0}]
PARITY = [*((shape, True) for shape in SHAPES), ((48, 64), False)]
VARIANTS = [*itertools.product(("weighted", "unweighted", "count"), ("weight", "count", "none"))]


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def test_three_deltas_by_hand() -> None:
    """Sums 5, -1, 0 elect +, -, +: (1*4 + 2*2)/(1 + 2) = 8/3 with weights 1, 2, 1; nobody has a third entry above 0."""
    inputs = [row(4, 2, 0), row(2, -2, 0), row(-3, 1, 0)]
    found = merged_in_memory(Ties(), inputs, [1.0, 2.0, 1.0])
    assert found.tolist() == [[8 / 3, -2.0, 0.0]]
    assert merged_in_memory(Ties(scale=3.0, divide="none"), inputs, [1.0, 2.0, 1.0]).tolist() == [[24.0, -12.0, 0.0]]
    assert merged_in_memory(Ties(divide="count"), inputs, [1.0, 2.0, 1.0]).tolist() == [[4.0, -4.0, 0.0]]


def test_each_election_by_hand() -> None:
    """Of 5, -2, -2 with weights 1, 1, 2: the weighted sum is -1, the sum 1, and two of three are below 0."""
    inputs, weights = [row(5), row(-2), row(-2)], [1.0, 1.0, 2.0]
    for elect, expected in (("weighted", -2.0), ("unweighted", 5.0), ("count", -2.0)):
        assert merged_in_memory(Ties(elect=elect), inputs, weights).item() == expected
    inputs[0] = row(7)
    for elect, expected in (("weighted", 7.0), ("unweighted", 7.0), ("count", -2.0)):
        assert merged_in_memory(Ties(elect=elect), inputs, weights).item() == expected


def test_half_of_the_entries_are_kept_and_of_equal_ones_the_first(tmp_path: Path) -> None:
    found = merged(tmp_path, Ties(), [row(1, -3, 3, 3)], settings=[{"density": 0.5}])
    assert found.tolist() == [[0.0, -3.0, 3.0, 0.0]]
    assert merged(tmp_path, Ties(rescale="l1"), [row(1, -3, 3, 3)], settings=[{"density": 0.5}]).tolist() == [
        [0.0, -5.0, 5.0, 0.0]
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_formula_holds_for_every_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs = deltas(shape, 3)
    kept = [trimmed(delta, own["density"]) for delta, own in zip(inputs, DENSITIES, strict=True)]
    close(merged(tmp_path, Ties(scale=0.7), inputs, WEIGHTS, DENSITIES), 0.7 * elected(kept, WEIGHTS))


@pytest.mark.parametrize("weights", [WEIGHTS, [0.5, -0.3, 1.2]], ids=["above 0", "of both signs"])
@pytest.mark.parametrize(("elect", "divide"), VARIANTS)
def test_every_variant_is_what_it_says(elect: Elect, divide: Divide, weights: list[float], tmp_path: Path) -> None:
    inputs = deltas((60, 70), 3)
    kept = [trimmed(delta, own["density"]) for delta, own in zip(inputs, DENSITIES, strict=True)]
    expected = elected(kept, weights, elect=elect, divide=divide)
    close(merged(tmp_path, Ties(elect=elect, divide=divide), inputs, weights, DENSITIES), expected)


@pytest.mark.parametrize("rescale", ["l1", "density", "none"])
def test_what_is_kept_can_be_rescaled(rescale: Literal["l1", "density", "none"], tmp_path: Path) -> None:
    inputs = deltas((900, 300), 2)
    kept = [restored(delta, trimmed(delta, 0.3), rescale, 0.3) for delta in inputs]
    settings = [{"density": 0.3}, {"density": 0.3}]
    close(merged(tmp_path, Ties(rescale=rescale), inputs, [1.0, 2.0], settings), elected(kept, [1.0, 2.0]))


@pytest.mark.parametrize(("shape", "normalize"), PARITY, ids=str)
def test_mergekit_gives_the_same(shape: tuple[int, ...], *, normalize: bool, tmp_path: Path) -> None:
    ours = Ties(scale=0.7, divide="weight" if normalize else "none")
    theirs = {"normalize": normalize, "lambda": 0.7}
    assert parity(tmp_path, ours, models(shape, 3), WEIGHTS, DENSITIES, **theirs) <= 1e-6


def test_mergekit_gives_the_same_with_weights_of_both_signs_and_rescaled(tmp_path: Path) -> None:
    weights = [0.5, -0.3, 1.2]
    found = parity(tmp_path, Ties(rescale="l1"), models((100, 80), 3), weights, DENSITIES, rescale=True)
    assert found <= 1e-6


@pytest.mark.parametrize(("elect", "method"), [("unweighted", "total"), ("count", "frequency")])
def test_peft_gives_the_same(elect: Elect, method: Literal["total", "frequency"], tmp_path: Path) -> None:
    inputs = [delta.float() for delta in deltas((100, 80), 3)]
    expected = merge_utils.ties(inputs, torch.tensor(WEIGHTS), 0.4, method)
    found = merged(tmp_path, Ties(elect=elect, divide="count"), inputs, WEIGHTS, [{"density": 0.4}] * 3)
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-6


def test_where_mergekit_divides_by_what_rounding_leaves_of_0_the_sum_stays_undivided() -> None:
    """0.3 - 0.1 - 0.2 is -2.8e-17 in fp64; mergekit asks only for exactly 0, and its fp32 leaves 7.5e-9."""
    inputs = [row(1.0), row(-1.0), row(-1.0)]
    weights = [0.3, -0.1, -0.2]
    assert merged_in_memory(Ties(), inputs, weights).item() == pytest.approx(0.6)
    theirs = by_mergekit("ties", torch.zeros(1, 1), [delta.float() for delta in inputs], weight=weights)
    assert abs(theirs.item()) > 1e6


def test_one_entry_at_least_is_kept(tmp_path: Path) -> None:
    assert merged(tmp_path, Ties(), [row(1, 2, -3)], settings=[{"density": 1e-9}]).tolist() == [[0.0, 0.0, -3.0]]
    assert merged(tmp_path, Ties(), [row(7)], settings=[{"density": 1e-9}]).item() == 7.0


@pytest.mark.parametrize(("elect", "divide"), VARIANTS)
def test_zeros_stay_zeros_and_opposites_leave_the_one_above_0(elect: Elect, divide: Divide) -> None:
    method = Ties(elect=elect, divide=divide)
    assert merged_in_memory(method, [row(0, 0), row(0, 0)]).tolist() == [[0.0, 0.0]]
    assert merged_in_memory(method, [row(2, -3), row(-2, 3)]).tolist() == [[2.0, 3.0]]
    assert merged_in_memory(method, [row(5e-324, -5e-324), row(0, 0)]).tolist() == [[5e-324, -5e-324]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("density", [0.5, 1.0])
@pytest.mark.parametrize(("elect", "divide"), VARIANTS)
def test_what_is_no_number_never_vanishes(elect: Elect, divide: Divide, density: float, value: float) -> None:
    """Though two others outvote it, and though it may be trimmed."""
    inputs = [row(value, 1), row(-1, 1), row(-1, 1), row(1, 1), row(1, 1)]
    found = merged_in_memory(Ties(elect=elect, divide=divide), inputs, settings=[{"density": density}] * 5)
    assert not torch.isfinite(found).all()


def test_a_build_refuses_what_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(BrickctlError, match="NaN or infinity"):
        merged(tmp_path, Ties(), [row(math.nan, 1, 2)], settings=[{"density": 0.4}])


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = [delta.mul(64).round().div(64).float() for delta in deltas((1200, 300), 3)]
    usual = merged(tmp_path / "usual", Ties(rescale="l1"), inputs, WEIGHTS, DENSITIES)
    assert torch.equal(merged(tmp_path / "other", Ties(rescale="l1"), inputs, WEIGHTS, DENSITIES, **budget), usual)
