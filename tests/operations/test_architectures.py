"""Models whose tensor names line up need no table: each is merged, stitched, and compared with arithmetic by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from brickctl.errors import ManifestInvalid
from tests.support.architectures import model_of
from tests.support.building import build, manifest
from tests.support.models import quietly, tuned, weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

Weights = dict[str, "Tensor"]

STACKS = {
    "bert": "bert.encoder.layer",
    "gemma2": "model.layers",
    "gemma3": "model.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "llama": "model.layers",
    "mistral": "model.layers",
    "mixtral": "model.layers",
    "phi": "model.layers",
    "qwen2": "model.layers",
    "qwen2_moe": "model.layers",
    "qwen3": "model.layers",
    "qwen3_moe": "model.layers",
}
"""What the layers of each architecture of transformers are called."""

UNET = (
    *(f"{module}.{kind}" for module in ("conv_in", "conv_norm_out", "conv_out") for kind in ("weight", "bias")),
    *(f"time_embedding.linear_{number}.{kind}" for number in (1, 2) for kind in ("weight", "bias")),
    "down_blocks.0.resnets.0.conv1.weight",
    "down_blocks.0.resnets.0.time_emb_proj.weight",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
    "down_blocks.0.downsamplers.0.conv.weight",
    "down_blocks.1.resnets.0.conv1.weight",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight",
    "mid_block.resnets.0.conv2.weight",
    "up_blocks.0.resnets.0.conv_shortcut.weight",
    "up_blocks.0.upsamplers.0.conv.weight",
)
DIT = (
    "pos_embed.proj.weight",
    *(
        f"transformer_blocks.{number}.{part}.weight"
        for number in (0, 1)
        for part in ("norm1.emb.timestep_embedder.linear_1", "attn1.to_q", "attn1.to_out.0", "ff.net.0.proj")
    ),
    "proj_out_1.weight",
    "proj_out_2.weight",
)
"""Tensors as diffusers names them."""


@pytest.fixture(scope="module", params=[*STACKS, "unet", "dit"])
def architecture(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def models(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base and two bricks of one architecture."""
    folder = tmp_path_factory.mktemp(architecture)
    if architecture in STACKS:
        base = model_of(architecture, folder / "base")
    else:
        base = diffusion(folder / "base", UNET if architecture == "unet" else DIT)
    return {"base": base, **{name: tuned(base, folder / name, seed=seed) for seed, name in enumerate(("one", "two"))}}


def diffusion(folder: Path, names: tuple[str, ...]) -> Path:
    """A checkpoint in the form of diffusers: convolutions have four dimensions."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    shapes = {name: (4,) if name.endswith("bias") else (4, 3, 3, 3) if "conv" in name else (4, 6) for name in names}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"_class_name": "DiTTransformer2DModel", "num_layers": 2}))
    return folder


def made(models: dict[str, Path], apply: str, folder: Path) -> Weights:
    return weights(build(manifest(models["base"], {name: models[name] for name in ("one", "two")}, apply), folder))


def check_load(folder: Path, layers: int) -> None:
    """The folder loads in transformers, every tensor in its place, and the model says something."""
    config = json.loads((folder / "config.json").read_text())
    if "architectures" not in config:
        return  # diffusers is not among the tests' dependencies
    loader: Any = getattr(transformers, config["architectures"][0])
    model, report = quietly(lambda: loader.from_pretrained(folder, output_loading_info=True))
    assert {key: list(value) for key, value in report.items() if value} == {}
    assert model.config.num_hidden_layers == layers
    with torch.no_grad():
        assert model.eval()(torch.arange(1, 9).unsqueeze(0)).logits.isfinite().all()


FORMULAS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    '"linear", bricks = { one = 1.0, two = 3.0 }': lambda _, one, two: (one + 3 * two) / 4,
    '"task_arithmetic", bricks = { one = 0.5, two = -2.0 }': lambda base, one, two: (
        base + 0.5 * (one - base) - 2 * (two - base)
    ),
}


@pytest.mark.parametrize("said", FORMULAS)
def test_a_merge_is_its_formula_for_every_tensor(said: str, models: dict[str, Path], tmp_path: Path) -> None:
    out = made(models, f'{{ op = "merge", method = {said} }}', tmp_path / "out")
    parts = [weights(models[name]) for name in ("base", "one", "two")]
    assert out.keys() == parts[0].keys()
    for name, tensor in out.items():
        expected = FORMULAS[said](*(part[name].double() for part in parts))
        torch.testing.assert_close(tensor.double(), expected, rtol=1.2e-7, atol=1e-10)
    check_load(tmp_path / "out", layers=2)


def test_layers_are_found_by_their_names_and_stitched(
    architecture: str, models: dict[str, Path], tmp_path: Path
) -> None:
    merged = '{ method = "linear", layers = [1, 2], bricks = { one = 1.0, two = 3.0 } }'
    apply = f'{{ op = "stitch", slices = [{{ brick = "base", layers = [0, 2] }}, {merged}] }}'
    if architecture == "unet":
        with pytest.raises(ManifestInvalid, match="must be told which layers"):
            made(models, apply, tmp_path / "out")
        return
    stack = {**STACKS, "dit": "transformer_blocks"}[architecture]
    out = made(models, apply, tmp_path / "out")
    expected, one, two = (weights(models[name]) for name in ("base", "one", "two"))
    for name in [name for name in expected if name.startswith(f"{stack}.1.")]:
        mean = (one[name].double() + 3 * two[name].double()) / 4
        expected[name.replace(f"{stack}.1.", f"{stack}.2.")] = mean.float()
    assert out.keys() == expected.keys()
    assert len(out) > len(one)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in out.items())
    check_load(tmp_path / "out", layers=3)
