"""Modules laid over a model or added to it, and prompts, which only stack."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import CPTConfig, LilyConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file

from brickctl.errors import BrickctlError, ManifestInvalid, Misfit, Unsupported
from tests.support.building import build, manifest, prepare, sum_of
from tests.support.models import (
    adapter,
    edit_config,
    edit_tensors,
    load,
    load_with_adapter,
    logits,
    quietly,
    randomise,
    tiny_model,
    weights,
)

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "lm_head.weight"
STACK = '{ op = "stack", bricks = ["a"] }'


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "base")


def module(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def as_module(text: str) -> str:
    return text.replace('/a" }', '/a", kind = "module" }')


def assert_refused(text: str, scratch: Path, error: type[BrickctlError], *words: str) -> None:
    with pytest.raises(error) as caught:
        prepare(text, scratch)
    for word in words:
        assert word in str(caught.value)


def test_a_module_takes_the_place_of_the_tensors_that_it_names(base: Path, tmp_path: Path) -> None:
    head = torch.randn(96, 32)
    brick = module(tmp_path / "a", {HEAD: head})
    built = weights(build(as_module(manifest(base, {"a": brick}, sum_of(a=1))), tmp_path / "built"))
    assert built.pop(HEAD).equal(head)
    assert all(built[name].equal(tensor) for name, tensor in weights(base).items() if name != HEAD)


def test_half_a_module_is_half_way(base: Path, tmp_path: Path) -> None:
    head = torch.randn(96, 32)
    brick = module(tmp_path / "a", {HEAD: head})
    built = weights(build(as_module(manifest(base, {"a": brick}, sum_of(a=0.5))), tmp_path / "built"))
    torch.testing.assert_close(built[HEAD], (head + weights(base)[HEAD]) / 2)


def test_a_module_adds_what_the_model_does_not_have_yet(base: Path, tmp_path: Path) -> None:
    added = {"draft.0.proj.weight": torch.randn(4, 32), "draft.0.steps": torch.arange(5)}
    brick = module(tmp_path / "a", added)
    text = as_module(manifest(base, {"a": brick}, sum_of(a=1)))
    built = weights(build(text, tmp_path / "built"))
    assert built.keys() == {*weights(base), *added}
    assert all(built[name].equal(tensor) for name, tensor in added.items())
    assert "were added: config.json must name a model class" in prepare(text, tmp_path).plan.notes[0]


def test_what_is_added_cannot_be_weighed(base: Path, tmp_path: Path) -> None:
    brick = module(tmp_path / "a", {"draft.weight": torch.randn(4, 32)})
    text = as_module(manifest(base, {"a": brick}, sum_of(a=0.5)))
    assert_refused(text, tmp_path, ManifestInvalid, "`a` adds `draft.weight`", "weight 1")


def test_a_module_of_another_shape_is_refused(base: Path, tmp_path: Path) -> None:
    brick = module(tmp_path / "a", {HEAD: torch.randn(97, 32)})
    text = as_module(manifest(base, {"a": brick}, sum_of(a=1)))
    assert_refused(text, tmp_path, Misfit, f"`{HEAD}` has shape [97, 32]; the base has [96, 32]")


def test_weights_that_nobody_calls_a_module_are_of_no_kind(base: Path, tmp_path: Path) -> None:
    brick = module(tmp_path / "a", {HEAD: torch.randn(96, 32)})
    assert_refused(manifest(base, {"a": brick}, sum_of(a=1)), tmp_path, Misfit, 'kind = "module"')


PROMPTS: dict[str, Any] = {
    "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "tokens": CPTConfig(
        task_type="CAUSAL_LM", cpt_token_ids=[1, 2], cpt_mask=[1, 1], cpt_tokens_type_mask=[1, 2], num_virtual_tokens=2
    ),
    "lily": LilyConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "k_proj"], r=4),
}


@pytest.fixture
def stacked(request: pytest.FixtureRequest, base: Path, tmp_path: Path) -> Path:
    model = quietly(lambda: get_peft_model(load(base), PROMPTS[request.param]))
    randomise(model, 3, 0.3)
    quietly(lambda: model.save_pretrained(tmp_path / "a"))
    return tmp_path / "a"


@pytest.mark.parametrize("stacked", ["prompt", "prefix", "lily"], indirect=True)
def test_what_has_no_merged_weights_is_stacked_and_answers_as_before(stacked: Path, base: Path, tmp_path: Path) -> None:
    built = build(manifest(base, {"a": stacked}, STACK), tmp_path / "built")
    expected = logits(load_with_adapter(base, stacked))
    found = logits(load_with_adapter(built, built / "adapters" / "a"))
    assert found.equal(expected)
    assert not found.equal(logits(load(base)))


@pytest.mark.parametrize("stacked", ["prompt", "prefix", "tokens", "lily"], indirect=True)
def test_what_has_no_merged_weights_is_not_merged(stacked: Path, base: Path, tmp_path: Path) -> None:
    text = manifest(base, {"a": stacked}, sum_of(a=1))
    assert_refused(text, tmp_path, Unsupported, "cannot be merged", "`stack` it instead")


@pytest.mark.parametrize("stacked", ["prompt"], indirect=True)
def test_a_prompt_of_another_width_is_refused(stacked: Path, base: Path, tmp_path: Path) -> None:
    edit_tensors(stacked, lambda _: {"prompt_embeddings": torch.zeros(3, 33)})
    assert_refused(manifest(base, {"a": stacked}, STACK), tmp_path, Misfit, "33 wide; those of the base 32")
    edit_tensors(stacked, lambda _: {"prompt_embeddings": torch.zeros(4, 32)})
    assert_refused(manifest(base, {"a": stacked}, STACK), tmp_path, Misfit, "4 virtual tokens", "says 3")


@pytest.mark.parametrize("stacked", ["lily"], indirect=True)
def test_an_adapter_that_is_only_carried_must_find_its_modules(stacked: Path, base: Path, tmp_path: Path) -> None:
    edit_tensors(stacked, lambda found: {key.replace("layers.2.", "layers.9."): one for key, one in found.items()})
    text = manifest(base, {"a": stacked}, STACK)
    assert_refused(text, tmp_path, Misfit, "it changes `model.layers.9.", "which the base does not have")
    edit_tensors(stacked, lambda found: {key.replace("base_model.", "model."): one for key, one in found.items()})
    assert_refused(text, tmp_path, Misfit, "PEFT would drop without a word")


def test_an_activated_lora_is_stacked_and_not_merged(base: Path, tmp_path: Path) -> None:

    brick = edit_config(adapter(base, tmp_path / "a"), alora_invocation_tokens=[1, 2])
    prepare(manifest(base, {"a": brick}, STACK), tmp_path)
    assert_refused(manifest(base, {"a": brick}, sum_of(a=1)), tmp_path, Unsupported, "aLoRA", "`stack` it instead")


def test_a_part_of_a_model_with_its_configuration_is_told_about_modules(base: Path, tmp_path: Path) -> None:
    brick = shutil.copytree(base, tmp_path / "a")
    edit_tensors(brick, lambda found: {HEAD: found[HEAD] + 1})
    assert_refused(manifest(base, {"a": brick}, sum_of(a=1)), tmp_path, Misfit, 'write `kind = "module"`')
    built = build(as_module(manifest(base, {"a": brick}, sum_of(a=1))), tmp_path / "built")
    assert weights(built)[HEAD].equal(load_file(brick / "model.safetensors")[HEAD])
