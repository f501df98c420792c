"""NearSwap, against its formula in plain torch and against mergekit."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from mergekit.merge_methods.nearswap import nearswap_merge

from brickctl.errors import BrickctlError
from brickctl.merging.nearswap import NearSwap
from tests.support.building import build, manifest
from tests.support.merging import merged, merged_in_memory, random_tensors
from tests.support.models import tiny_model, tuned, weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def formula(delta: Tensor, t: float) -> Tensor:
    d = delta.double()
    share = (t / d.abs()).clamp(0, 1)
    return torch.where(d == 0, 0.0, share * d)


def by_mergekit(base: Tensor, other: Tensor, t: float) -> Tensor:
    group = SimpleNamespace(base=SimpleNamespace(tensor=base), non_base=[SimpleNamespace(tensor=other)])
    return nearswap_merge.implementation(group, t)


def test_small_steps_are_taken_whole_and_large_ones_up_to_the_threshold() -> None:
    found = merged_in_memory(NearSwap(t=0.5), [doubles(0.25, -0.25, 3, -3, 0, 0.5)])
    assert found.tolist() == [0.25, -0.25, 0.5, -0.5, 0.0, 0.5]


@pytest.mark.parametrize("shape", [(1500, 300), (3, 300_000), (5, 7, 9), (1,), ()], ids=str)
@pytest.mark.parametrize("t", [0.0, 1e-3, 1.0, 100.0])
def test_the_result_is_that_of_the_formula(shape: tuple[int, ...], t: float, tmp_path: Path) -> None:
    delta = random_tensors(shape, 1)[0]
    torch.testing.assert_close(merged(tmp_path, NearSwap(t=t), [delta]), formula(delta, t), rtol=1e-15, atol=0)


@pytest.mark.parametrize("t", [1e-4, 0.1, 1.0])
def test_mergekit_gives_the_same_in_fp32(t: float, tmp_path: Path) -> None:
    base, other = random_tensors((200, 300), 2)
    other[:50] = base[:50]
    theirs = by_mergekit(base, other, t)
    ours = base.double() + merged(tmp_path, NearSwap(t=t), [other.double() - base.double()])
    assert (ours - theirs.double()).abs().max() <= 1e-6 * theirs.abs().max()


def test_thresholds_below_a_millionth_hold_too_where_mergekit_divides_by_1e_6() -> None:
    """A step of 1e-8 with t = 1e-8 is taken whole; mergekit takes a hundredth of it."""
    assert merged_in_memory(NearSwap(t=1e-8), [doubles(1e-8)]).item() == 1e-8
    assert by_mergekit(doubles(0), doubles(1e-8), 1e-8).item() == pytest.approx(1e-10)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_clipping_hides_nothing_that_is_no_number(value: float) -> None:
    found = merged_in_memory(NearSwap(t=0.5), [doubles(1, value, 0)])
    assert found.isnan().tolist() == [False, True, False]


def test_denormal_steps_are_taken_whole() -> None:
    assert merged_in_memory(NearSwap(), [doubles(1e-45, -5e-324)]).tolist() == [1e-45, -5e-324]


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 24 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    delta = random_tensors((1500, 700), 1)
    usual = merged(tmp_path / "usual", NearSwap(t=0.3), delta)
    assert torch.equal(merged(tmp_path / "other", NearSwap(t=0.3), delta, **budget), usual)


def test_a_manifest_names_one_brick_and_a_threshold_by_filter(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    expert = tuned(base, tmp_path / "a")
    rules = '[{ filter = "*mlp*", value = 0.002 }, { value = 0.0 }]'
    step = f'{{ op = "merge", method = "nearswap", bricks = ["a"], t = {rules} }}'
    out, start, other = (
        weights(build(manifest(base, {"a": expert}, step), tmp_path / "out")),
        weights(base),
        weights(expert),
    )
    for name, tensor in out.items():
        expected = by_mergekit(start[name], other[name], 0.002 if "mlp" in name else 0.0)
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-7)
    with pytest.raises(BrickctlError, match=r"`t` .* must lie in \[0, inf\], not -1"):
        build(manifest(base, {"a": expert}, step.replace("0.002", "-1.0")), tmp_path / "other")
