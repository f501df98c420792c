"""Model Stock, against its formula in plain torch and against mergekit."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from mergekit.merge_methods.model_stock import model_stock_merge_method

from brickctl.merging.model_stock import ModelStock
from tests.support.building import build, manifest
from tests.support.merging import merged, merged_in_memory, random_tensors
from tests.support.models import tiny_model, tuned, weights, worst_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

By = Literal["tensor", "row"]
WAYS: list[By] = ["tensor", "row"]
SHAPES = [(1500, 300), (3, 300_000), (700_000,), (5, 7, 9), (6000, 1), (1,), ()]


def doubles(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def formula(deltas: Sequence[Tensor], by: By) -> Tensor:
    shape = deltas[0].shape
    rows = [one.double().reshape((-1, shape[-1]) if by == "row" and len(shape) > 1 else (1, -1)) for one in deltas]
    count = len(rows)
    pairs = [(a, b) for at, a in enumerate(rows) for b in rows[at + 1 :]]
    cosines = [(a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)) for a, b in pairs]
    c = torch.stack(cosines).mean(0)[:, None]
    below = 1 + (count - 1) * c
    t = torch.where(below.abs() <= 1e-6, 0.0, count * c / below)
    return (t * sum(rows) / count).reshape(shape)


def by_mergekit(base: Tensor, tuned_ones: Sequence[Tensor], *, filter_wise: bool) -> Tensor:
    group = SimpleNamespace(
        base=SimpleNamespace(tensor=base), non_base=[SimpleNamespace(tensor=one) for one in tuned_ones]
    )
    return model_stock_merge_method.implementation(group, filter_wise=filter_wise)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_result_is_that_of_the_formula(shape: tuple[int, ...], count: int, by: By, tmp_path: Path) -> None:
    deltas = random_tensors(shape, count)
    found = merged(tmp_path, ModelStock(by=by), deltas)
    torch.testing.assert_close(found, formula(deltas, by), rtol=1e-9, atol=1e-10)


def test_deltas_at_sixty_degrees_keep_two_thirds() -> None:
    """c = 0.5, t = 2 * 0.5 / (1 + 0.5) = 2 / 3; the mean of (2, 0) and (1, 1.732) is (1.5, 0.866)."""
    found = merged_in_memory(ModelStock(), [doubles(2, 0), doubles(1, math.sqrt(3))])
    torch.testing.assert_close(found, doubles(1, math.sqrt(3) / 3))


def test_rows_have_ratios_of_their_own() -> None:
    """Equal rows are kept, perpendicular ones are not."""
    deltas = [doubles([1.0, 0.0], [2.0, 0.0]), doubles([1.0, 0.0], [0.0, 2.0])]
    torch.testing.assert_close(merged_in_memory(ModelStock(by="row"), deltas), doubles([1.0, 0.0], [0.0, 0.0]))


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("shape", [(200, 300), (300_000,), (5, 7, 9), (1,)], ids=str)
def test_mergekit_gives_the_same_in_fp32(shape: tuple[int, ...], by: By, tmp_path: Path) -> None:
    base, deltas = random_tensors(shape, 1, seed=9)[0], random_tensors(shape, 3)
    tuned_ones = [base + delta for delta in deltas]
    theirs = by_mergekit(base, tuned_ones, filter_wise=by == "row")
    exact = [one.double() - base.double() for one in tuned_ones]
    ours = base.double() + merged(tmp_path, ModelStock(by=by), exact)
    assert (ours - theirs.double()).abs().max() <= 1e-6 * theirs.abs().max()


def test_small_deltas_agree_as_large_ones_do_where_mergekit_forgets_them() -> None:
    """mergekit divides by 1e-6 where the product of two lengths is smaller: equal deltas of 1e-4 then have c = 0.01."""
    base, delta = doubles(1, 1), doubles(1e-4, 0)
    found = merged_in_memory(ModelStock(), [delta, delta.clone()])
    torch.testing.assert_close(found, delta)
    theirs = by_mergekit(base, [base + delta, base + delta], filter_wise=False) - base
    assert theirs[0] == pytest.approx(1e-4 * 2 * 0.01 / 1.01, rel=1e-6)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([(1.0, 2.0)] * 3, (1.0, 2.0)),
        ([(1.0, 2.0), (-1.0, -2.0)], (0.0, 0.0)),
        ([(1.0, 2.0), (-3.0, -6.0)], (0.0, 0.0)),
        ([(3.0,), (5.0,)], (4.0,)),
        ([(3.0,), (-5.0,)], (0.0,)),
        ([(0.0, 0.0)] * 3, (0.0, 0.0)),
        ([(1.0, 2.0), (0.0, 0.0)], (0.0, 0.0)),
        ([(1e-45, 1e-45), (1e-45, 0.0)], (0.8284271247461902e-45, 0.4142135623730951e-45)),
    ],
    ids=["equal", "opposite", "of other lengths", "one element", "two signs", "zeros", "one of zeros", "denormal"],
)
def test_every_set_has_a_defined_result(deltas: list[tuple[float, ...]], expected: tuple[float, ...], by: By) -> None:
    found = merged_in_memory(ModelStock(by=by), [doubles(one) for one in deltas])
    torch.testing.assert_close(found, doubles(expected), rtol=1e-12, atol=1e-58)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_reaches_the_result(value: float, by: By) -> None:
    deltas = [one.double() for one in random_tensors((5, 6), 3)]
    deltas[1][2, 3] = value
    found = merged_in_memory(ModelStock(by=by), deltas)
    assert int(found.isnan().sum()) == {"tensor": 30, "row": 6}[by]
    assert found[2].isnan().all()


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 48 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], by: By, tmp_path: Path) -> None:
    deltas = random_tensors((1500, 700), 3)
    usual = merged(tmp_path / "usual", ModelStock(by=by), deltas)
    assert torch.equal(merged(tmp_path / "other", ModelStock(by=by), deltas, **budget), usual)


@pytest.mark.parametrize("by", WAYS)
def test_a_brick_that_leaves_a_tensor_alone_takes_part_with_zeros(by: By, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    experts = {
        "a": tuned(base, tmp_path / "a", seed=1),
        "b": tuned(base, tmp_path / "b", seed=2),
        "c": tuned(base, tmp_path / "c", seed=3, names=lambda name: "mlp" in name),
    }
    step = f'{{ op = "merge", method = "model_stock", bricks = ["a", "b", "c"], by = "{by}" }}'
    out = weights(build(manifest(base, experts, step), tmp_path / "out"))
    start, tensors = weights(base), [weights(folder) for folder in experts.values()]
    expected = {name: by_mergekit(start[name], [one[name] for one in tensors], filter_wise=by == "row") for name in out}
    assert worst_ratio(out, expected) <= 1e-6
