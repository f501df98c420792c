"""Passthrough: bits as they were, or a multiple of them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from mergekit.merge_methods.passthrough import passthrough_merge_method

from brickctl.merging.passthrough import Passthrough
from tests.support.building import build, manifest
from tests.support.merging import merged, merged_in_memory, random_tensors
from tests.support.models import tiny_model, tuned, weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def by_mergekit(tensor: Tensor, scale: float) -> Tensor:
    group = SimpleNamespace(entries=[SimpleNamespace(tensor=tensor, id=0)])
    return passthrough_merge_method.implementation(group, {0: scale})


@pytest.mark.parametrize("shape", [(1500, 300), (3, 300_000), (5, 7, 9), (1,), ()], ids=str)
@pytest.mark.parametrize("scale", [0.0, 0.3, -2.0])
def test_every_entry_is_multiplied(shape: tuple[int, ...], scale: float, tmp_path: Path) -> None:
    tensor = random_tensors(shape, 1)[0]
    found = merged(tmp_path, Passthrough(scale=scale), [tensor])
    assert torch.equal(found, tensor.double() * scale)
    theirs = by_mergekit(tensor, scale)
    assert (found - theirs.double()).abs().max() <= 1e-6 * tensor.abs().max()


def test_without_a_scale_no_bit_changes(tmp_path: Path) -> None:
    tensor = torch.tensor([-0.0, 1e-45, 3.1, -1e38])
    assert torch.equal(merged(tmp_path, Passthrough(), [tensor]).view(torch.int32), tensor.view(torch.int32))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_factor_of_zero_hides_nothing_that_is_no_number(value: float) -> None:
    found = merged_in_memory(Passthrough(scale=0.0), [torch.tensor([1.0, value], dtype=torch.float64)])
    assert found.isnan().tolist() == [False, True]


def test_a_manifest_may_silence_a_layer(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    expert = tuned(base, tmp_path / "a")
    rules = '[{ filter = "*layers.1.*down_proj*", value = 0.0 }, { value = 1.0 }]'
    step = f'{{ op = "merge", method = "passthrough", bricks = ["a"], scale = {rules} }}'
    out, other = weights(build(manifest(base, {"a": expert}, step), tmp_path / "out")), weights(expert)
    silenced = {name for name, tensor in out.items() if not torch.equal(tensor, other[name])}
    assert silenced == {"model.layers.1.mlp.down_proj.weight"}
    assert not out["model.layers.1.mlp.down_proj.weight"].any()
