"""One group of neurons, taken out of a model and laid over the base."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from brickctl.errors import BrickctlError, IntegrityFault, ManifestInvalid, Misfit
from tests.support.building import build, manifest, prepare, sum_of
from tests.support.deriving import derive
from tests.support.models import adapter, edit_config, edit_tensors, tiny_model, tuned, weights
from tests.support.neurons import partition

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.derivations.derivation import Findings

FFN = "model.layers.1.mlp"
GROUP = 2
Models = dict[str, "Path"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A base, a fine-tune of all of it, and a partition of its 48 neurons a layer into 8 shared ones and 4 groups."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(folder / "base", dtype="bfloat16")
    return {
        "base": base,
        "coder": tuned(base, folder / "coder"),
        "groups": partition(base, folder / "groups", groups=4, shared=8),
    }


def extract(models: Models, keys: str, folder: Path, start: str = "coder") -> Findings:
    bricks = {name: path for name, path in models.items() if name != "base"}
    return derive(models["base"], bricks, f'op = "extract-neurons"\nfrom = "{start}"\n{keys}', folder)


def members(models: Models, ffn: str, group: int) -> list[int]:
    order = load_file(models["groups"] / "model.safetensors")[f"{ffn}.order"].tolist()
    found: list[int] = order[8 + 10 * group : 18 + 10 * group]
    return found


def test_a_merge_lays_the_neurons_over_the_base_bit_by_bit(models: Models, tmp_path: Path) -> None:
    findings = extract(models, f'brick = "groups"\ngroup = {GROUP}', tmp_path / "x")
    built = build(manifest(models["base"], {"x": tmp_path / "x"}, sum_of(x=1)), tmp_path / "built")
    found, base, coder = weights(built), weights(models["base"]), weights(models["coder"])
    assert [row["neurons"] for row in findings.rows] == [10, 10, 10]
    for name, tensor in base.items():
        expected = tensor.clone()
        ffn = name.rpartition(".mlp.")[0] + ".mlp"
        if ".mlp.down" in name:
            expected[:, members(models, ffn, GROUP)] = coder[name][:, members(models, ffn, GROUP)]
        elif ".mlp." in name:
            expected[members(models, ffn, GROUP)] = coder[name][members(models, ffn, GROUP)]
        assert torch.equal(found[name], expected), name


def test_all_groups_and_the_shared_neurons_would_be_the_whole_ffn(models: Models, tmp_path: Path) -> None:
    """Four groups, one after another: what is left of the base are the eight shared neurons."""
    bricks = {}
    for group in range(4):
        bricks[f"g{group}"] = tmp_path / f"g{group}"
        extract(models, f'brick = "groups"\ngroup = {group}', bricks[f"g{group}"])
    apply = ", ".join(sum_of(**{alias: 1}) for alias in bricks)
    found = weights(build(manifest(models["base"], bricks, apply), tmp_path / "built"))
    name = f"{FFN}.up_proj.weight"
    base, coder = weights(models["base"])[name], weights(models["coder"])[name]
    assert int((found[name] != coder).any(dim=1).sum()) == 8
    assert bool(((found[name] == coder) | (found[name] == base)).all())


def test_half_of_them_is_half_way(models: Models, tmp_path: Path) -> None:
    extract(models, f'brick = "groups"\ngroup = {GROUP}', tmp_path / "x")
    text = manifest(models["base"], {"x": tmp_path / "x"}, sum_of(x=0.5), 'dtype = "float32"')
    name = f"{FFN}.gate_proj.weight"
    neuron = members(models, FFN, GROUP)[0]
    base, coder = (weights(models[one])[name][neuron].float() for one in ("base", "coder"))
    torch.testing.assert_close(weights(build(text, tmp_path / "built"))[name][neuron], (base + coder) / 2)


def test_biases_of_neurons_come_along(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", mlp_bias=True)
    coder = tuned(base, tmp_path / "coder")
    own = {"base": base, "coder": coder, "groups": partition(base, tmp_path / "groups", groups=4, shared=8)}
    extract(own, f'brick = "groups"\ngroup = {GROUP}', tmp_path / "x")
    found = weights(build(manifest(base, {"x": tmp_path / "x"}, sum_of(x=1)), tmp_path / "built"))
    name, chosen = f"{FFN}.up_proj.bias", members(own, FFN, GROUP)
    expected = weights(base)[name].clone()
    expected[chosen] = weights(coder)[name][chosen]
    assert torch.equal(found[name], expected)
    assert torch.equal(found[f"{FFN}.down_proj.bias"], weights(base)[f"{FFN}.down_proj.bias"])


def test_a_model_that_is_computed_is_stored_as_it_would_be_built(models: Models, tmp_path: Path) -> None:
    lora = adapter(models["base"], tmp_path / "lora")
    extract({**models, "lora": lora}, f'brick = "groups"\ngroup = {GROUP}', tmp_path / "x", start="lora")
    stored = load_file(tmp_path / "x/model.safetensors")[f"{FFN}.up_proj.weight"]
    built = weights(build(manifest(models["base"], {"lora": lora}, sum_of(lora=1)), tmp_path / "built"))
    assert torch.equal(stored, built[f"{FFN}.up_proj.weight"][members(models, FFN, GROUP)])


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        ("group = 0", ManifestInvalid, "has no `brick`"),
        ('brick = "groups"', ManifestInvalid, "has no `group`"),
        ('brick = "group"\ngroup = 0', ManifestInvalid, "`group`, which is no brick here"),
        ('brick = "coder"\ngroup = 0', ManifestInvalid, "of kind expert, and no partition"),
        ('brick = "groups"\ngroup = 4', ManifestInvalid, "there is no group 4"),
        ('brick = "groups"\ngroup = -1', ManifestInvalid, "must be 0 or more"),
        ('brick = "groups"\ngroup = 1\ngroups = 2', ManifestInvalid, "unknown key `groups`"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(
    models: Models, keys: str, error: type[BrickctlError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        extract(models, keys, tmp_path / "x")


def merge(models: Models, tmp_path: Path) -> None:
    prepare(manifest(models["base"], {"x": tmp_path / "x"}, sum_of(x=1)), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "brickctl-neuron-group-2"}, "brickctl-neuron-group-2"),
        ({"interface": "sha256:" + "0" * 64}, "other names or shapes"),
        ({"group": "two"}, "must be an integer"),
        ({"turns": 8}, "unknown key `turns`"),
    ],
)
def test_a_configuration_that_is_off_is_refused(
    models: Models, change: dict[str, object], said: str, tmp_path: Path
) -> None:
    extract(models, f'brick = "groups"\ngroup = {GROUP}', tmp_path / "x")
    edit_config(tmp_path / "x", "neuron_group_config.json", **change)
    with pytest.raises(Misfit, match=re.escape(said)):
        merge(models, tmp_path)


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        (f"{FFN}.neurons", torch.zeros(10), "is F32 [10]"),
        (f"{FFN}.neurons", torch.zeros(49, dtype=torch.int32), "is I32 [49]"),
        (f"{FFN}.neurons", None, f"it has no `{FFN}.neurons`"),
        (f"{FFN}.up_proj.weight", None, f"it has no `{FFN}.up_proj.weight`"),
        (f"{FFN}.up_proj.weight", torch.zeros(10, 31), "has shape [10, 31]; 10 neurons of the base have [10, 32]"),
        (f"{FFN}.down_proj.weight", torch.zeros(10, 32), "has shape [10, 32]; 10 neurons of the base have [32, 10]"),
        ("model.norm.weight", torch.zeros(32), "it has `model.norm.weight`"),
    ],
)
def test_tensors_that_are_no_group_of_the_base_are_refused(
    models: Models, name: str, tensor: torch.Tensor | None, said: str, tmp_path: Path
) -> None:
    extract(models, f'brick = "groups"\ngroup = {GROUP}', tmp_path / "x")

    def changed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        rest = {other: one for other, one in tensors.items() if other != name}
        return rest if tensor is None else {**rest, name: tensor}

    edit_tensors(tmp_path / "x", changed)
    with pytest.raises(Misfit, match=re.escape(said)):
        merge(models, tmp_path)


def test_neurons_out_of_order_stop_the_build(models: Models, tmp_path: Path) -> None:
    extract(models, f'brick = "groups"\ngroup = {GROUP}', tmp_path / "x")
    name = f"{FFN}.neurons"
    edit_tensors(tmp_path / "x", lambda tensors: {**tensors, name: tensors[name].flip(0)})
    with pytest.raises(IntegrityFault, match="do not ascend"):
        build(manifest(models["base"], {"x": tmp_path / "x"}, sum_of(x=1)), tmp_path / "built")
