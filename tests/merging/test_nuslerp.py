"""NuSLERP, against its formula in plain torch and against mergekit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from mergekit.merge_methods.nuslerp import nuslerp as nuslerp_of_mergekit

from brickctl.errors import ManifestInvalid
from brickctl.merging.nuslerp import NuSlerp
from tests.support.building import build, manifest
from tests.support.merging import merged, merged_in_memory, random_tensors
from tests.support.models import tiny_model, tuned, weights, worst_ratio

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

By = Literal["tensor", "row", "column"]
WAYS: list[By] = ["tensor", "row", "column"]
SHAPES = [(1500, 300), (3, 300_000), (700_000,), (5, 7, 9), (1, 1), (1,), ()]


def doubles(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def formula(first: Tensor, second: Tensor, t: float, by: By) -> Tensor:
    columns = first.shape[-1] if first.dim() else 1
    one_vector = by == "tensor" or first.dim() < 2
    shape, along = ((1, -1), 1) if one_vector else ((-1, columns), 1 if by == "row" else 0)
    x, y = first.double().reshape(shape), second.double().reshape(shape)
    lengths = x.norm(dim=along, keepdim=True) * y.norm(dim=along, keepdim=True)
    cosine = ((x * y).sum(dim=along, keepdim=True) / lengths).clamp(-1, 1)
    angle = cosine.acos()
    arc = (((1 - t) * angle).sin() * x + (t * angle).sin() * y) / angle.sin()
    return torch.where(1 - cosine**2 <= 2**-23, (1 - t) * x + t * y, arc).reshape(first.shape)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_result_is_that_of_the_formula(shape: tuple[int, ...], by: By, tmp_path: Path) -> None:
    inputs = random_tensors(shape, 2)
    found = merged(tmp_path, NuSlerp(by=by), inputs, [1.0, 3.0])
    expected = formula(*inputs, 0.75, by)
    assert (
        found - expected
    ).abs().max() <= 1e-9 * expected.abs().max()  # near-opposite columns of 3 are ill-conditioned


def test_rows_and_columns_turn_by_themselves() -> None:
    """Rows: equal ones stay, perpendicular ones give 0.7071 of each; as a whole the matrices are at 60 degrees."""
    inputs = [doubles([1.0, 0.0], [2.0, 0.0]), doubles([1.0, 0.0], [0.0, 2.0])]
    half = math.sqrt(0.5)
    by_row = merged_in_memory(NuSlerp(by="row"), inputs)
    torch.testing.assert_close(by_row, doubles([1.0, 0.0], [2 * half, 2 * half]))
    turned = [matrix.T.contiguous() for matrix in inputs]
    torch.testing.assert_close(merged_in_memory(NuSlerp(by="column"), turned), by_row.T)


def test_shares_follow_from_the_weights() -> None:
    """Weights 1 and 2 on a right angle: sin(30) = 0.5 of the first, sin(60) = 0.8660 of the second."""
    found = merged_in_memory(NuSlerp(), [doubles(1, 0), doubles(0, 1)], [1.0, 2.0])
    torch.testing.assert_close(found, doubles(0.5, math.sqrt(3) / 2))


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize(
    ("shape", "dtype", "bound"),
    [((200, 300), "float32", 1e-6), ((300_000,), "float32", 1e-6), ((1,), "float32", 1e-6)]
    + [(shape, "float64", 1e-9) for shape in SHAPES if len(shape) in {1, 2}],
    ids=str,
)
def test_mergekit_gives_the_same(shape: tuple[int, ...], dtype: str, bound: float, by: By, tmp_path: Path) -> None:
    """Large ones in fp64: in fp32 its cosines of 900 thousand elements are off by some 1e-6."""
    inputs = random_tensors(shape, 2)
    wide = [one.to(getattr(torch, dtype)) for one in inputs]
    theirs = nuslerp_of_mergekit(0.75, *wide, dim=0 if by == "column" else -1, flatten=by == "tensor")
    ours = merged(tmp_path, NuSlerp(by=by), inputs, [1.0, 3.0])
    assert (ours - theirs.double()).abs().max() <= bound * theirs.abs().max()


def test_columns_are_those_of_the_last_dimension_where_mergekit_takes_the_first(tmp_path: Path) -> None:
    """For a matrix both are the same; a fused tensor of experts has no vector across its experts."""
    inputs = random_tensors((4, 5, 6), 2)
    found = merged(tmp_path, NuSlerp(by="column"), inputs)
    flat = merged(tmp_path / "flat", NuSlerp(by="column"), [one.reshape(20, 6) for one in inputs])
    assert torch.equal(found, flat.reshape(4, 5, 6))


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1.0, 2.0), (1.0, 2.0), (1.0, 2.0)),
        ((1.0, 2.0), (-1.0, -2.0), (-0.5, -1.0)),
        ((1.0, 2.0), (-3.0, -6.0), (-2.0, -4.0)),
        ((3.0,), (-5.0,), (-3.0,)),
        ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0)),
        ((1.0, 2.0), (0.0, 0.0), (0.3826834323650898, 0.7653668647301796)),
        ((1e-45, 0.0), (0.0, 1e-45), (0.3826834323650898e-45, 0.9238795325112867e-45)),
    ],
    ids=["equal", "opposite", "opposite of another length", "one element", "zeros", "one of zeros", "denormal"],
)
def test_every_pair_has_a_defined_result(
    first: tuple[float, ...], second: tuple[float, ...], expected: tuple[float, ...], by: By
) -> None:
    """Three quarters of the way: a vector of zeros is perpendicular, and sin(22.5) = 0.3827."""
    found = merged_in_memory(NuSlerp(by=by), [doubles(*first), doubles(*second)], [1.0, 3.0])
    torch.testing.assert_close(found, doubles(*expected), rtol=1e-12, atol=1e-58)


def test_directions_that_single_precision_cannot_tell_apart_are_combined_linearly() -> None:
    """-3 times a vector of fp32 numbers is rounded, so its angle is not quite pi, and 1 / sin of it is 10 million."""
    first = random_tensors((1000,), 1)[0]
    second = first * -3.1
    found = merged_in_memory(NuSlerp(), [first.double(), second.double()])
    torch.testing.assert_close(found, (first.double() + second.double()) / 2)


def test_weights_that_cancel_are_refused_where_mergekit_takes_half_of_each() -> None:
    assert NuSlerp().refusal([1.0, -1.0]) == "the weights sum to 0, so there are no shares: [1.0, -1.0]"
    assert NuSlerp().refusal([1.0, 1.0]) is None


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_reaches_the_result(value: float, by: By) -> None:
    first, second = (one.double() for one in random_tensors((5, 6), 2))
    second[2, 3] = value
    found = merged_in_memory(NuSlerp(by=by), [first, second])
    assert found[2, 3].isnan()
    assert int(found.isnan().sum()) == {"tensor": 30, "row": 6, "column": 5}[by]


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 32 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], by: By, tmp_path: Path) -> None:
    inputs = random_tensors((1500, 700), 2)
    usual = merged(tmp_path / "usual", NuSlerp(by=by), inputs)
    assert torch.equal(merged(tmp_path / "other", NuSlerp(by=by), inputs, **budget), usual)


def test_deltas_go_along_an_arc_and_onto_the_base(tmp_path: Path) -> None:
    """What only one brick changes is at a right angle to the other's zeros, as for mergekit: 0.7071 of it."""
    base = tiny_model(tmp_path / "base")
    experts = {
        "a": tuned(base, tmp_path / "a", seed=1),
        "b": tuned(base, tmp_path / "b", seed=2, names=lambda name: "mlp" in name),
    }
    step = '{ op = "merge", method = "nuslerp", bricks = { a = 1.0, b = 1.0 }, deltas = true }'
    out = weights(build(manifest(base, experts, step), tmp_path / "out"))
    start, first, second = weights(base), weights(experts["a"]), weights(experts["b"])
    theirs = {
        name: start[name]
        + nuslerp_of_mergekit(0.5, first[name] - start[name], second[name] - start[name], flatten=True)
        for name in out
    }
    assert worst_ratio(out, theirs) <= 1e-6
    norm = "model.norm.weight"
    torch.testing.assert_close(out[norm], start[norm] + math.sqrt(0.5) * (first[norm] - start[norm]))


def test_the_base_may_take_part_as_a_model_but_has_no_delta(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    experts = {"a": tuned(base, tmp_path / "a")}
    step = '{{ op = "merge", method = "nuslerp", bricks = {{ base = 1.0, a = 1.0 }}, deltas = {} }}'
    build(manifest(base, experts, step.format("false")), tmp_path / "out")
    with pytest.raises(ManifestInvalid, match="`base` has no delta for `nuslerp` to add"):
        build(manifest(base, experts, step.format("true")), tmp_path / "other")
