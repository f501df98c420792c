"""The Karcher mean, against its definition, against the iteration in plain torch, and against mergekit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from mergekit.merge_methods.karcher import karcher_merge_tensors

from brickctl.errors import BrickctlError
from brickctl.merging.karcher import Karcher
from tests.support.building import build, manifest
from tests.support.merging import merged, merged_in_memory, random_tensors
from tests.support.models import tiny_model, tuned, weights, worst_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

SHAPES = [(1500, 300), (3, 300_000), (700_000,), (5, 7, 9), (1,), ()]


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def arcs(y: Tensor, units: Sequence[Tensor]) -> Tensor:
    """The mean of the arcs from y to each unit vector."""
    total = torch.zeros_like(y)
    for unit in units:
        cosine = (unit @ y).clamp(-1, 1)
        if (angle := cosine.acos()) >= 1e-5:
            total += angle / angle.sin() * (unit - cosine * y) / len(units)
    return total


def formula(inputs: Sequence[Tensor], steps: int = 10) -> Tensor:
    x = [one.double().reshape(-1) for one in inputs]
    units = [one / one.norm() for one in x]
    y = sum(units) / sum(units).norm()
    for _ in range(steps):
        v = arcs(y, units)
        if v.norm() < 1e-5:
            break
        y = v.norm().cos() * y + v.norm().sin() * v / v.norm()
    return (y * sum(one.norm() for one in x) / len(x)).reshape(inputs[0].shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("count", [2, 4])
def test_the_result_is_that_of_the_iteration(shape: tuple[int, ...], count: int, tmp_path: Path) -> None:
    inputs = [one.abs() if one.numel() == 1 else one for one in random_tensors(shape, count)]
    torch.testing.assert_close(merged(tmp_path, Karcher(), inputs), formula(inputs), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_no_more_steps_are_taken_than_asked_for(steps: int) -> None:
    inputs = [one.double() for one in random_tensors((6,), 3, seed=5)]
    torch.testing.assert_close(merged_in_memory(Karcher(max_iter=steps), inputs), formula(inputs, steps))


def test_the_arcs_from_the_mean_to_all_models_cancel() -> None:
    inputs = [one.double() for one in random_tensors((40,), 5, seed=3)]
    found = merged_in_memory(Karcher(max_iter=100, tol=1e-7), inputs)
    units = [one / one.norm() for one in inputs]
    assert arcs(found / found.norm(), units).norm() < 2e-7
    assert float(found.norm()) == pytest.approx(sum(float(one.norm()) for one in inputs) / 5)


def test_the_middle_of_three_directions_in_a_plane() -> None:
    """Angles 0, 0 and 90 degrees have the mean 30, where the mean of the vectors points to 26.6; lengths 1, 2 and 3."""
    found = merged_in_memory(Karcher(max_iter=100, tol=1e-7), [doubles(1, 0), doubles(2, 0), doubles(0, 3)])
    torch.testing.assert_close(found, 2 * doubles(math.sqrt(3) / 2, 0.5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(200, 300), (300_000,), (5, 7, 9), (1,)], ids=str)
@pytest.mark.parametrize("count", [2, 5])
def test_mergekit_gives_the_same_in_fp32(shape: tuple[int, ...], count: int, tmp_path: Path) -> None:
    inputs = [one.abs() if one.numel() == 1 else one for one in random_tensors(shape, count)]
    theirs = karcher_merge_tensors(inputs, [1 / count] * count)
    ours = merged(tmp_path, Karcher(), inputs)
    assert (ours - theirs.double()).abs().max() <= 1e-6 * theirs.abs().max()


def test_directions_that_cancel_give_the_mean_of_the_models_where_mergekit_takes_the_first() -> None:
    inputs = [doubles(1, 0), doubles(-3, 0)]
    torch.testing.assert_close(merged_in_memory(Karcher(), inputs), doubles(-1, 0))
    assert karcher_merge_tensors(inputs, [0.5, 0.5])[0] == pytest.approx(2, rel=1e-6)
    assert karcher_merge_tensors(inputs[::-1], [0.5, 0.5])[0] == pytest.approx(-2, rel=1e-6)


def test_what_is_opposite_to_the_mean_pulls_nowhere() -> None:
    """Twice a and once -a: the direction of a, the mean length 4 / 3."""
    a = doubles(0.6, 0.8)
    torch.testing.assert_close(merged_in_memory(Karcher(), [a, a.clone(), -2 * a]), 4 / 3 * a)


def test_small_tensors_have_a_direction_where_mergekit_gives_zeros() -> None:
    """mergekit leaves out what is shorter than `tol`."""
    inputs = [doubles(1e-6, 0), doubles(0, 1e-6)]
    torch.testing.assert_close(merged_in_memory(Karcher(), inputs), doubles(1e-6, 1e-6) * math.sqrt(0.5))
    assert not karcher_merge_tensors(inputs, [0.5, 0.5]).any()


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([(1.0, 2.0)] * 3, (1.0, 2.0)),
        ([(3.0,), (-5.0,)], (-1.0,)),
        ([(0.0, 0.0)] * 3, (0.0, 0.0)),
        ([(1.0, 2.0), (0.0, 0.0)], (0.5, 1.0)),
        ([(1e-45, 0.0), (0.0, 1e-45)], (0.7071067811865476e-45, 0.7071067811865476e-45)),
    ],
    ids=["equal", "one element", "zeros", "one of zeros", "denormal"],
)
def test_every_set_has_a_defined_result(inputs: list[tuple[float, ...]], expected: tuple[float, ...]) -> None:
    found = merged_in_memory(Karcher(), [doubles(*one) for one in inputs])
    torch.testing.assert_close(found, doubles(*expected), rtol=1e-12, atol=1e-58)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_makes_the_whole_tensor_none(value: float) -> None:
    assert merged_in_memory(Karcher(), [doubles(1, 2), doubles(2, value), doubles(0, 0)]).isnan().all()


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 24 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = random_tensors((1500, 700), 3)
    usual = merged(tmp_path / "usual", Karcher(), inputs)
    assert torch.equal(merged(tmp_path / "other", Karcher(), inputs, **budget), usual)


def test_a_manifest_names_models_without_weights(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    experts = {name: tuned(base, tmp_path / name, seed=seed) for seed, name in enumerate("ab")}
    step = '{ op = "merge", method = "karcher", bricks = ["a", "base", "b"] }'
    out = weights(build(manifest(base, experts, step), tmp_path / "out"))
    tensors = [weights(folder) for folder in (base, *experts.values())]
    expected = {name: karcher_merge_tensors([one[name] for one in tensors], [1 / 3] * 3) for name in out}
    assert worst_ratio(out, expected) <= 1e-6
    with pytest.raises(BrickctlError, match="gives bricks no weights"):
        build(manifest(base, experts, step.replace('["a", "base", "b"]', "{ a = 1.0 }")), tmp_path / "other")
