"""Experts: full fine-tunes of the base, with exactly its tensors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.errors import BrickctlError, Misfit, Unsupported
from tests.support.building import build, manifest, prepare, sum_of
from tests.support.models import edit_config, edit_tensors, tiny_model, tuned, weights

if TYPE_CHECKING:
    from pathlib import Path

NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "base", dtype="bfloat16")


@pytest.fixture
def expert(base: Path, tmp_path: Path) -> Path:
    return tuned(base, tmp_path / "expert")


def refused(error: type[BrickctlError], base: Path, expert: Path, *words: str) -> None:
    with pytest.raises(error) as caught:
        prepare(manifest(base, {"sql": expert}, sum_of(sql=1.0)), expert.parent)
    for word in ("sql", *words):
        assert word in str(caught.value)


def test_an_expert_of_weight_one_is_the_expert_bit_for_bit(base: Path, expert: Path, tmp_path: Path) -> None:
    built = weights(build(manifest(base, {"sql": expert}, sum_of(sql=1.0)), tmp_path / "built"))
    assert all(torch.equal(built[name], tensor) for name, tensor in weights(expert).items())


def test_half_an_expert_is_the_middle_rounded_once(base: Path, expert: Path, tmp_path: Path) -> None:
    built = weights(build(manifest(base, {"sql": expert}, sum_of(sql=0.5)), tmp_path / "built"))
    before, after = weights(base)[NAME].double(), weights(expert)[NAME].double()
    assert torch.equal(built[NAME], ((before + after) / 2).bfloat16())


def test_an_expert_in_another_type_keeps_its_precision_until_the_end(base: Path, tmp_path: Path) -> None:
    wide = edit_tensors(tuned(base, tmp_path / "wide"), lambda found: {k: t.float() + 1e-5 for k, t in found.items()})
    settings = 'dtype = "float32"'
    built = weights(build(manifest(base, {"sql": wide}, sum_of(sql=1.0), settings), tmp_path / "built"))
    assert all(torch.equal(built[name], tensor) for name, tensor in weights(wide).items())


def test_tensors_that_did_not_change_are_not_computed(base: Path, tmp_path: Path) -> None:
    """A file that equals the base's has the same digest, so that every tensor is the same node."""
    twin = tuned(base, tmp_path / "twin", names=lambda _: False)
    assert (twin / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    plan = prepare(manifest(base, {"sql": twin}, sum_of(sql=1.0)), tmp_path).plan
    assert {type(node).__name__ for node in plan.nodes().values()} == {"Stored"}


def test_another_shape_is_refused_with_both(base: Path, expert: Path) -> None:
    edit_tensors(expert, lambda found: {**found, NAME: torch.zeros(47, 32)})
    refused(Misfit, base, expert, f"`{NAME}` has shape [47, 32]; the base has [48, 32]", "brick.toml line 6")


def test_a_tensor_too_many_is_refused(base: Path, expert: Path) -> None:
    edit_tensors(expert, lambda found: {**found, NAME.replace("1", "7"): torch.zeros(1)})
    refused(Misfit, base, expert, "`model.layers.7.mlp.up_proj.weight`, which the base does not have", "did you mean")


def test_a_tensor_too_few_is_refused(base: Path, expert: Path) -> None:
    edit_tensors(expert, lambda found: {name: tensor for name, tensor in found.items() if name != NAME})
    refused(Misfit, base, expert, f"the base has `{NAME}` and `sql` does not")


@pytest.mark.parametrize("side", ["base", "expert"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused_on_either_side(side: str, dtype: torch.dtype, base: Path, expert: Path) -> None:
    edit_tensors({"base": base, "expert": expert}[side], lambda found: {**found, NAME: found[NAME].to(dtype)})
    with pytest.raises(Unsupported, match="quantised weights cannot be merged") as caught:
        prepare(manifest(base, {"sql": expert}, sum_of(sql=1.0)), expert.parent)
    assert f"`{NAME}` of `{'base' if side == 'base' else 'sql'}`" in str(caught.value)


def test_buffers_of_integers_stay_those_of_the_base(base: Path, tmp_path: Path) -> None:
    edit_tensors(base, lambda found: {**found, "position_ids": torch.arange(64)})
    expert = tuned(base, tmp_path / "expert", names=lambda name: name == NAME)
    edit_tensors(expert, lambda found: {**found, "position_ids": torch.zeros(64, dtype=torch.int64)})
    built = weights(build(manifest(base, {"sql": expert}, sum_of(sql=1.0)), tmp_path / "built"))
    assert torch.equal(built["position_ids"], torch.arange(64))


def test_an_expert_that_unties_what_the_base_ties_unties_the_result(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    expert = tuned(base, tmp_path / "expert")
    head = torch.ones(96, 32)
    edit_config(
        edit_tensors(expert, lambda found: {**found, "lm_head.weight": head}), "config.json", tie_word_embeddings=False
    )
    built = build(manifest(base, {"sql": expert}, sum_of(sql=1.0)), tmp_path / "built")
    torch.testing.assert_close(weights(built)["lm_head.weight"], head)
    assert json.loads((built / "config.json").read_text())["tie_word_embeddings"] is False


def test_a_brick_of_no_kind_says_what_it_has(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    refused(Misfit, base, folder, "its configuration files are: none", "an adapter has adapter_config.json")
