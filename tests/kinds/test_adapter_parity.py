"""Adapters merged by brickctl beside the same adapters merged by PEFT, on tiny models in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.support.building import build, manifest, sum_of
from tests.support.models import (
    LINEAR,
    adapter,
    edit_config,
    edit_tensors,
    load,
    load_with_adapter,
    logits,
    merged_by_peft,
    tiny_model,
    weights,
    worst_ratio,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

TOLERANCE = 1e-6

ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "dora_of_embeddings": {"use_dora": True, "target_modules": ["embed_tokens", "q_proj"]},
    "rsdora": {"use_dora": True, "use_rslora": True},
    "rank_1": {"r": 1},
    "rank_pattern": {"rank_pattern": {"q_proj": 2, r"layers\.[01]\.mlp\.up_proj": 7}},
    "alpha_pattern": {"alpha_pattern": {r"layers\.1\..*": 1, "v_proj": 20}},
    "embeddings": {"target_modules": ["embed_tokens", "lm_head", "v_proj"]},
    "saved_head": {"modules_to_save": ["lm_head"]},
    "saved_embeddings": {"modules_to_save": ["embed_tokens"]},
    "saved_norms": {"modules_to_save": ["norm", "input_layernorm"]},
    "saved_with_dora": {"use_dora": True, "modules_to_save": ["lm_head", "norm"]},
    "all_linear": {"target_modules": "all-linear"},
    "pattern_of_modules": {"target_modules": r".*\.layers\.[02]\.(mlp\.down_proj|self_attn\.k_proj)"},
    "some_layers": {"layers_to_transform": [1], "layers_pattern": "layers"},
}


def ours(base: Path, brick: Path, scratch: Path) -> dict[str, Tensor]:
    return weights(build(manifest(base, {"a": brick}, sum_of(a=1.0)), scratch / "built"))


@pytest.mark.parametrize("name", ADAPTERS)
def test_merged_weights_are_those_of_merge_and_unload(name: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    brick = adapter(base, tmp_path / "adapter", **ADAPTERS[name])
    built, theirs = ours(base, brick, tmp_path), merged_by_peft(base, brick)
    assert built.keys() == theirs.keys()
    assert worst_ratio(built, theirs) <= TOLERANCE
    assert worst_ratio(weights(base), theirs) > 100 * TOLERANCE, "the adapter changes nothing: the test shows nothing"


@pytest.mark.parametrize("architecture", ["mistral", "qwen2"])
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_other_architectures_and_their_biases(architecture: str, name: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", architecture)
    brick = adapter(base, tmp_path / "adapter", **ADAPTERS[name])
    assert worst_ratio(ours(base, brick, tmp_path), merged_by_peft(base, brick)) <= TOLERANCE


def test_the_first_pattern_in_the_file_that_matches_wins(tmp_path: Path) -> None:
    """PEFT sorts the patterns when it saves; what counts for both is the order of the file."""
    base = tiny_model(tmp_path / "base")
    ranks = {r"model\.layers\.0\.self_attn\.q_proj": 5, "q_proj": 2}
    brick = adapter(base, tmp_path / "adapter", rank_pattern=ranks, use_rslora=True)
    edit_config(brick, alpha_pattern={r"layers\.0\.self_attn\.q_proj": 3, "q_proj": 9, r".*_proj": 2, "v_proj": 50})
    assert worst_ratio(ours(base, brick, tmp_path), merged_by_peft(base, brick)) <= TOLERANCE


def test_an_adapter_in_another_type_than_its_base(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    brick = adapter(base, tmp_path / "adapter")
    edit_tensors(brick, lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()})
    assert worst_ratio(ours(base, brick, tmp_path), merged_by_peft(base, brick)) <= TOLERANCE


@pytest.mark.parametrize("name", ["lora", "dora"])
def test_factors_on_an_embedding_that_the_adapter_itself_replaces(name: str, tmp_path: Path) -> None:
    """PEFT saves the embedding along with its factors; where it was tuned, the factors belong to that one."""
    base = tiny_model(tmp_path / "base")
    brick = adapter(base, tmp_path / "adapter", **ADAPTERS[name] | {"target_modules": ["embed_tokens"]})
    edit_tensors(brick, lambda found: {k: t * 1.5 if "base_layer" in k else t for k, t in found.items()})
    assert worst_ratio(ours(base, brick, tmp_path), merged_by_peft(base, brick)) <= TOLERANCE


OLDER_LAYOUTS = {
    "saved module with its wrapper": ("lm_head.weight", "lm_head.modules_to_save.weight"),
    "magnitude as a module": ("lora_magnitude_vector", "lora_magnitude_vector.weight"),
}


@pytest.mark.parametrize("layout", OLDER_LAYOUTS)
def test_layouts_of_older_versions_give_the_same_weights(layout: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    brick = adapter(base, tmp_path / "adapter", use_dora=True, modules_to_save=["lm_head"])
    expected = merged_by_peft(base, brick)
    new, old = OLDER_LAYOUTS[layout]
    edit_tensors(brick, lambda tensors: {key.replace(new, old): tensor for key, tensor in tensors.items()})
    assert any(key.endswith(old) for key in weights(brick))
    assert worst_ratio(ours(base, brick, tmp_path), expected) <= TOLERANCE


def test_a_configuration_with_the_fewest_fields_gets_the_defaults_of_peft(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    brick = adapter(base, tmp_path / "adapter", lora_alpha=8)
    expected = merged_by_peft(base, brick)
    (brick / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    assert worst_ratio(ours(base, brick, tmp_path), expected) <= TOLERANCE


def test_magnitudes_of_any_shape_with_as_many_numbers_as_rows(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    brick = adapter(base, tmp_path / "adapter", use_dora=True)
    expected = merged_by_peft(base, brick)
    edit_tensors(brick, lambda found: {k: t.reshape(1, -1) if "magnitude" in k else t for k, t in found.items()})
    assert worst_ratio(ours(base, brick, tmp_path), expected) <= TOLERANCE


TIED: dict[str, dict[str, Any]] = {
    "layers_only": {},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "embeddings_and_head": {"target_modules": ["embed_tokens", "lm_head"]},
    "embeddings_tied_on": {"target_modules": ["embed_tokens", "q_proj"], "ensure_weight_tying": True},
    "head_tied_on": {"target_modules": ["lm_head"], "ensure_weight_tying": True},
    "both_tied_on": {"target_modules": ["embed_tokens", "lm_head"], "ensure_weight_tying": True},
    "dora_of_embeddings": {"target_modules": ["embed_tokens", "v_proj"], "use_dora": True},
    "saved_head": {"modules_to_save": ["lm_head"]},
    "saved_embeddings": {"modules_to_save": ["embed_tokens"]},
    "saved_both": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "saved_embeddings_tied_on": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "saved_head_tied_on": {"modules_to_save": ["lm_head"], "ensure_weight_tying": True},
    "saved_head_and_lora_of_embeddings": {"target_modules": ["embed_tokens"], "modules_to_save": ["lm_head"]},
}


@pytest.mark.parametrize("name", TIED)
def test_a_tied_model_answers_as_it_does_with_the_adapter_beside_it(name: str, tmp_path: Path) -> None:
    """PEFT's own merge is wrong here, so the standard is what PEFT computes without merging."""
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    brick = adapter(base, tmp_path / "adapter", **TIED[name])
    expected = logits(load_with_adapter(base, brick))
    built = build(manifest(base, {"a": brick}, sum_of(a=1.0)), tmp_path / "built")
    torch.testing.assert_close(logits(load(built)), expected, rtol=0, atol=2e-5)
    assert float((logits(load(base)) - expected).abs().max()) > 1e-2, "the adapter changes nothing"


def test_what_is_trained_together_stays_one_tensor_and_what_is_not_parts(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    together = adapter(base, tmp_path / "together", target_modules=["embed_tokens"], ensure_weight_tying=True)
    apart = adapter(base, tmp_path / "apart", target_modules=["embed_tokens"])
    kept = build(manifest(base, {"a": together}, sum_of(a=1.0)), tmp_path / "kept")
    parted = build(manifest(base, {"a": apart}, sum_of(a=1.0)), tmp_path / "parted")
    assert "lm_head.weight" not in weights(kept)
    torch.testing.assert_close(weights(parted)["lm_head.weight"], weights(base)["model.embed_tokens.weight"])
    assert load(kept).config.tie_word_embeddings
    assert not load(parted).config.tie_word_embeddings


def test_a_stale_copy_of_a_tied_head_is_not_read(tmp_path: Path) -> None:
    """No loader reads a stored head of a model that ties it, so its bytes may be anything."""
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    brick = adapter(base, tmp_path / "adapter", target_modules=LINEAR)
    expected = ours(base, brick, tmp_path)
    edit_tensors(base, lambda found: {**found, "lm_head.weight": found["model.embed_tokens.weight"] * 0})
    again = ours(base, brick, tmp_path / "again")
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_alpha_and_rank_of_the_configuration_decide_the_scale(tmp_path: Path) -> None:
    """One number that a reader can check: B = 1, A = 1, r = 4, alpha = 6 adds 4 * 6/4 = 6 to every element."""
    base = tiny_model(tmp_path / "base")
    brick = adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    edit_tensors(brick, lambda tensors: {name: torch.ones_like(tensor) for name, tensor in tensors.items()})
    name = "model.layers.0.self_attn.q_proj.weight"
    torch.testing.assert_close(ours(base, brick, tmp_path)[name] - weights(base)[name], torch.full((32, 32), 6.0))
    edit_config(brick, use_rslora=True)
    root = ours(base, brick, tmp_path / "rs")[name] - weights(base)[name]
    torch.testing.assert_close(root, torch.full((32, 32), 12.0))
