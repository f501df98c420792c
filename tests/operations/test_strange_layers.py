"""Stitches of models whose tensors are not what they seem: packed weights, and names with a number that is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from brickctl.errors import Misfit, Unsupported
from tests.support.building import build, manifest
from tests.support.models import tiny_model, tuned, weights

if TYPE_CHECKING:
    from pathlib import Path

UP = "model.layers.1.mlp.up_proj."
LINEAR = '{ method = "linear", layers = [0, 3], bricks = { base = 0.5, one = 0.5 } }'
DELTA = '{ method = "task_arithmetic", layers = [0, 3], bricks = { one = 0.5 } }'
ALONE = '{ brick = "base", layers = [0, 1] }, { brick = "one", layers = [1, 3] }'


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    base = tiny_model(tmp_path / "base")
    return {"base": base, "one": tuned(base, tmp_path / "one")}


def stitched(models: dict[str, Path], slices: str, folder: Path) -> dict[str, torch.Tensor]:
    apply = f'{{ op = "stitch", slices = [{slices}] }}'
    return weights(build(manifest(models["base"], {"one": models["one"]}, apply), folder))


def pack(models: dict[str, Path], name: str) -> None:
    """Replace a weight by integers, others in each model."""
    for seed, folder in enumerate(models.values()):
        tensors = weights(folder)
        del tensors[f"{UP}weight"]
        generator = torch.Generator().manual_seed(seed)
        tensors[name] = torch.randint(-9, 9, (6, 32), dtype=torch.int32, generator=generator)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("slices", [LINEAR, DELTA])
def test_packed_weights_are_copied_with_their_layer_and_never_merged(
    slices: str, models: dict[str, Path], tmp_path: Path
) -> None:
    pack(models, f"{UP}qweight")
    with pytest.raises(Unsupported, match="quantised weights cannot be merged"):
        stitched(models, slices, tmp_path / "out")
    out = stitched(models, ALONE, tmp_path / "alone")
    assert torch.equal(out[f"{UP}qweight"], weights(models["one"])[f"{UP}qweight"])


@pytest.mark.parametrize("slices", [LINEAR, DELTA])
def test_integers_that_a_model_computes_for_itself_stay_the_bases(
    slices: str, models: dict[str, Path], tmp_path: Path
) -> None:
    pack(models, f"{UP}attn.bias")
    out = stitched(models, slices, tmp_path / "out")
    assert torch.equal(out[f"{UP}attn.bias"], weights(models["base"])[f"{UP}attn.bias"])


def rename(folder: Path, old: str, new: str) -> None:
    tensors = weights(folder)
    found = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    save_file(found, folder / "model.safetensors", {"format": "pt"})


def test_layers_whose_numbers_begin_with_a_zero_are_none_that_could_be_renamed(
    models: dict[str, Path], tmp_path: Path
) -> None:
    for folder in models.values():
        rename(folder, "layers.", "layers.0")
    with pytest.raises(Misfit, match="no layers that could be told by their names"):
        stitched(models, ALONE, tmp_path / "out")


@pytest.mark.parametrize("number", ["01", "\u0661"])
def test_a_second_tensor_that_reads_as_the_same_layer_is_not_lost(
    number: str, models: dict[str, Path], tmp_path: Path
) -> None:
    tensors = weights(models["base"])
    name = f"model.layers.{number}.mlp.up_proj.weight"
    tensors[name] = tensors[f"{UP}weight"] * 2
    save_file(tensors, models["base"] / "model.safetensors", {"format": "pt"})
    out = stitched(models, '{ brick = "base", layers = [0, 2] }', tmp_path / "out")
    assert torch.equal(out[name], tensors[name])
    assert torch.equal(out[f"{UP}weight"], tensors[f"{UP}weight"])
