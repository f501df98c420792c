"""Slerp, against its formula in plain torch and against mergekit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from mergekit.merge_methods.slerp import slerp as slerp_of_mergekit

from brickctl.merging.slerp import Slerp
from tests.support.building import build, manifest
from tests.support.merging import merged, merged_in_memory, random_tensors
from tests.support.models import tiny_model, tuned, weights, worst_ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

SHAPES = [(1500, 300), (3, 300_000), (700_000,), (5, 7, 9), (1,), ()]


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def formula(first: Tensor, second: Tensor, t: float) -> Tensor:
    x, y = first.double().reshape(-1), second.double().reshape(-1)
    cosine = x @ y / (x.norm() * y.norm()) if x.norm() * y.norm() > 0 else torch.zeros(()).double()
    angle = cosine.clamp(-1, 1).acos()
    mixed = (1 - t) * x + t * y
    if cosine.abs() <= 0.9995:
        mixed = (((1 - t) * angle).sin() * x + (t * angle).sin() * y) / angle.sin()
    return mixed.reshape(first.shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("t", [0.25, 0.5, 0.9])
def test_the_result_is_that_of_the_formula(shape: tuple[int, ...], t: float, tmp_path: Path) -> None:
    inputs = random_tensors(shape, 2)
    torch.testing.assert_close(merged(tmp_path, Slerp(t=t), inputs), formula(*inputs, t), rtol=1e-12, atol=1e-12)


def test_half_way_between_two_axes() -> None:
    """sin(45) / sin(90) = 0.7071: (2, 0) and (0, 4) give (1.414, 2.828), not the (1, 2) of a mean."""
    found = merged_in_memory(Slerp(t=0.5), [doubles(2, 0), doubles(0, 4)])
    torch.testing.assert_close(found, doubles(math.sqrt(2), 2 * math.sqrt(2)))


def test_a_third_of_a_right_angle() -> None:
    """sin(60) = 0.8660, sin(30) = 0.5."""
    found = merged_in_memory(Slerp(t=1 / 3), [doubles(1, 0), doubles(0, 1)])
    torch.testing.assert_close(found, doubles(math.sqrt(3) / 2, 0.5))


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(
    ("first", "second", "factors"),
    [
        ((1.0, 2.0), (1.0, 2.0), lambda t: (1 - t, t)),
        ((1.0, 2.0), (-1.0, -2.0), lambda t: (1 - t, t)),
        ((1.0, 2.0), (-3.0, -6.0), lambda t: (1 - t, t)),
        ((3.0,), (-5.0,), lambda t: (1 - t, t)),
        ((0.0, 0.0), (0.0, 0.0), lambda t: (1 - t, t)),
        ((1.0, 2.0), (0.0, 0.0), lambda t: (math.sin((1 - t) * math.pi / 2), 0)),
        ((1e-45, 0.0), (0.0, 1e-45), lambda t: (math.sin((1 - t) * math.pi / 2), math.sin(t * math.pi / 2))),
    ],
    ids=["equal", "opposite", "opposite of another length", "one element", "zeros", "one of zeros", "denormal"],
)
def test_every_pair_has_a_defined_result(
    first: Sequence[float], second: Sequence[float], factors: Callable[[float], tuple[float, float]], t: float
) -> None:
    left, right = factors(t)
    expected = [left * x + right * y for x, y in zip(first, second, strict=True)]
    found = merged_in_memory(Slerp(t=t), [doubles(*first), doubles(*second)])
    torch.testing.assert_close(found, doubles(*expected), rtol=1e-12, atol=1e-58)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_no_number_makes_the_whole_tensor_none(value: float, place: int) -> None:
    inputs = [doubles(1, 2, 3), doubles(3, 2, 1)]
    inputs[place][1] = value
    assert merged_in_memory(Slerp(t=0.5), inputs).isnan().all()


def test_lengths_that_overflow_when_squared_are_not_taken_for_an_angle() -> None:
    assert merged_in_memory(Slerp(t=0.5), [doubles(1e200, 1.0), doubles(1.0, 1e200)]).isnan().all()


def test_at_either_end_not_a_bit_changes(tmp_path: Path) -> None:
    inputs = [torch.tensor([-0.0, 1e-42, 3.1]), torch.tensor([5.0, -0.0, 1e-45])]
    for t, expected in ((0.0, inputs[0]), (1.0, inputs[1])):
        found = merged(tmp_path / str(t), Slerp(t=t), inputs).float()
        assert torch.equal(found.view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize(
    ("shape", "dtype", "bound"),
    [((200, 300), "float32", 1e-6), ((5, 7, 9), "float32", 1e-6), ((1,), "float32", 1e-6)]
    + [(shape, "float64", 1e-12) for shape in SHAPES],
    ids=str,
)
def test_mergekit_gives_the_same(shape: tuple[int, ...], dtype: str, bound: float, tmp_path: Path) -> None:
    """Large ones in fp64: in fp32, 900 thousand squares summed up by torch give a norm that is off by 2e-6."""
    inputs = random_tensors(shape, 2)
    wide = [one.to(getattr(torch, dtype))[None] for one in inputs]
    theirs = slerp_of_mergekit(torch.tensor([0.3], dtype=torch.float64), *wide)[0]
    ours = merged(tmp_path, Slerp(t=0.3), inputs)
    assert (ours - theirs.double()).abs().max() <= bound * theirs.abs().max()


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 24 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    inputs = random_tensors((1500, 700), 2)
    usual = merged(tmp_path / "usual", Slerp(t=0.3), inputs)
    assert torch.equal(merged(tmp_path / "other", Slerp(t=0.3), inputs, **budget), usual)


def test_a_manifest_names_two_models_in_order_and_t_over_depth(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    expert = tuned(base, tmp_path / "expert")
    step = '{ op = "merge", method = "slerp", bricks = ["base", "expert"], t = [0.0, 1.0] }'
    out = weights(build(manifest(base, {"expert": expert}, step), tmp_path / "out"))
    first, second = weights(base), weights(expert)
    expected = {
        name: formula(first[name], second[name], (0.0, 0.5, 1.0)[int(name.split(".")[2])])
        for name in out
        if "layers" in name
    }
    assert worst_ratio({name: out[name] for name in expected}, expected) < 1e-6
    assert torch.equal(out["model.embed_tokens.weight"], first["model.embed_tokens.weight"])
    assert torch.equal(out["lm_head.weight"], second["lm_head.weight"])
