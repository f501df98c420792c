"""Layers that are taken out of a model, and laid over the base or stitched into it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.core.numbers import layer_of
from brickctl.errors import BrickctlError, ManifestInvalid, Misfit
from tests.support.building import build, manifest, prepare, sum_of
from tests.support.deriving import derive
from tests.support.models import edit_config, edit_tensors, load, logits, tiny_model, tuned, weights

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.derivations.derivation import Findings


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base of three layers and a fine-tune of all of it."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(folder / "base", dtype="bfloat16")
    return base, tuned(base, folder / "coder")


def extract(models: tuple[Path, Path], keys: str, folder: Path) -> Findings:
    base, coder = models
    return derive(base, {"coder": coder}, f'op = "extract-layers"\nfrom = "coder"\n{keys}', folder)


def test_the_layers_come_back_bit_by_bit_and_the_others_are_the_base(models: tuple[Path, Path], tmp_path: Path) -> None:
    findings = extract(models, "layers = [1, 3]", tmp_path / "x")
    found = weights(build(manifest(models[0], {"x": tmp_path / "x"}, sum_of(x=1)), tmp_path / "built"))
    base, coder = weights(models[0]), weights(models[1])
    assert all(torch.equal(found[name], (coder if layer_of(name) in {1, 2} else base)[name]) for name in base)
    assert [(row["layer"], row["tensors"]) for row in findings.rows] == [(1, 9), (2, 9)]


def test_what_is_built_is_a_model(models: tuple[Path, Path], tmp_path: Path) -> None:
    extract(models, "layers = [0, 1]", tmp_path / "x")
    built = build(manifest(models[0], {"x": tmp_path / "x"}, sum_of(x=1)), tmp_path / "built")
    assert not torch.equal(logits(load(built)), logits(load(models[0])))


def test_half_of_them_is_half_way(models: tuple[Path, Path], tmp_path: Path) -> None:
    extract(models, "layers = [0, 1]", tmp_path / "x")
    text = manifest(models[0], {"x": tmp_path / "x"}, sum_of(x=0.5), 'dtype = "float32"')
    name = "model.layers.0.mlp.up_proj.weight"
    base, coder = weights(models[0])[name].float(), weights(models[1])[name].float()
    torch.testing.assert_close(weights(build(text, tmp_path / "built"))[name], (base + coder) / 2)


def test_a_stitch_takes_them_as_layers(models: tuple[Path, Path], tmp_path: Path) -> None:
    extract(models, "layers = [1, 3]", tmp_path / "x")
    slices = '{ brick = "base", layers = [0, 3] }, { brick = "x", layers = [1, 3] }'
    text = manifest(models[0], {"x": tmp_path / "x"}, f'{{ op = "stitch", slices = [{slices}] }}')
    found, coder = weights(build(text, tmp_path / "built")), weights(models[1])
    name = "model.layers.{}.self_attn.q_proj.weight"
    assert torch.equal(found[name.format(3)], coder[name.format(1)])
    assert torch.equal(found[name.format(4)], coder[name.format(2)])


def test_the_configuration_says_which_layers_of_which_model(models: tuple[Path, Path], tmp_path: Path) -> None:
    extract(models, "layers = [1, 3]", tmp_path / "x")
    document = json.loads((tmp_path / "x/layers_config.json").read_text())
    assert document["model"] == json.loads((models[1] / "config.json").read_text())
    assert (document["layers"], document["stack"]) == ([1, 3], "model.layers")


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        ("", ManifestInvalid, "has no `layers`"),
        ("layers = [2, 2]", ManifestInvalid, "in which there is no layer"),
        ("layers = [1, 4]", Misfit, "asks for layer 3; it has 3"),
        ('layers = [1, 3]\nstack = "model.layer"', ManifestInvalid, "no layers `model.layer`"),
        ("layers = [1, 3]\nlayer = 4", ManifestInvalid, "unknown key `layer`"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(
    models: tuple[Path, Path], keys: str, error: type[BrickctlError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        extract(models, keys, tmp_path / "x")


def test_layers_that_the_base_does_not_have_are_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    extract(models, "layers = [1, 3]", tmp_path / "x")
    base = tiny_model(tmp_path / "two", num_hidden_layers=2)
    with pytest.raises(Misfit, match="which is in none of the layers 1 to 2 of the base"):
        prepare(manifest(base, {"x": tmp_path / "x"}, sum_of(x=1)), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": [1, 2]}, "in none of the layers 1 to 1"),
        ({"layers": [0, 3]}, "the base has `model.layers.0."),
        ({"layers": [3, 1]}, "must be [FIRST, END]"),
        ({"layers": "1-3"}, "must be [FIRST, END]"),
        ({"format": "brickctl-layers-9"}, "brickctl-layers-9"),
        ({"turns": 1}, "unknown key `turns`"),
    ],
)
def test_a_configuration_that_is_not_of_these_tensors_is_refused(
    models: tuple[Path, Path], change: dict[str, object], said: str, tmp_path: Path
) -> None:
    extract(models, "layers = [1, 3]", tmp_path / "x")
    edit_config(tmp_path / "x", "layers_config.json", **change)
    with pytest.raises(Misfit, match=re.escape(said)):
        prepare(manifest(models[0], {"x": tmp_path / "x"}, sum_of(x=1)), tmp_path)


def test_a_layer_of_another_shape_is_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    extract(models, "layers = [1, 3]", tmp_path / "x")
    name = "model.layers.1.input_layernorm.weight"
    edit_tensors(tmp_path / "x", lambda tensors: {**tensors, name: tensors[name][:-1]})
    with pytest.raises(Misfit, match=re.escape("has shape [31]; the base has [32]")):
        prepare(manifest(models[0], {"x": tmp_path / "x"}, sum_of(x=1)), tmp_path)
