"""LoRAs that are extracted from fine-tunes: what brickctl merges and PEFT loads is what the table says."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from tests.support.building import build, manifest, prepare, sum_of
from tests.support.deriving import derive
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
    tuned,
    weights,
)

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.derivations.derivation import Findings

FULL = 32
"""The most that the rank of a matrix of the tiny model can be."""


def is_linear(name: str) -> bool:
    return any(f".{part}.weight" in name for part in LINEAR)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base in fp32 and a fine-tune of its linear layers."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(folder / "base")
    return base, tuned(base, folder / "coder", names=is_linear)


@pytest.fixture(scope="module")
def all_tuned(models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same base and a fine-tune of everything."""
    return models[0], tuned(models[0], tmp_path_factory.mktemp("tuned") / "coder")


def extract(models: tuple[Path, Path], keys: str, folder: Path) -> Findings:
    base, coder = models
    return derive(base, {"coder": coder}, f'op = "extract-lora"\nfrom = "coder"\n{keys}', folder)


def rebuilt(base: Path, brick: Path, folder: Path) -> dict[str, torch.Tensor]:
    return weights(build(manifest(base, {"x": brick}, sum_of(x=1)), folder))


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    return found


def relative_error(found: torch.Tensor, tuned_: torch.Tensor, base: torch.Tensor) -> float:
    return float((found.double() - tuned_.double()).norm() / (tuned_.double() - base.double()).norm())


def test_all_ranks_give_the_model_back(models: tuple[Path, Path], tmp_path: Path) -> None:
    findings = extract(models, f"rank = {FULL}", tmp_path / "x")
    found, base, coder = rebuilt(models[0], tmp_path / "x", tmp_path / "built"), *map(weights, models)
    assert len(findings.rows) == 3 * 7
    assert all(relative_error(found[name], coder[name], base[name]) < 1e-5 for name in base if is_linear(name))
    assert all(torch.equal(found[name], base[name]) for name in base if not is_linear(name))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_error_of_a_merge_is_the_one_that_is_said(models: tuple[Path, Path], dtype: str, tmp_path: Path) -> None:
    findings = extract(models, f'rank = 4\ndtype = "{dtype}"', tmp_path / "x")
    found, base, coder = rebuilt(models[0], tmp_path / "x", tmp_path / "built"), *map(weights, models)
    for row in findings.rows:
        name = row["tensor"]
        assert row["rank"] == 4
        assert relative_error(found[name], coder[name], base[name]) == pytest.approx(row["error"], rel=0.01)
    stored = load_file(tmp_path / "x/adapter_model.safetensors")
    assert {str(tensor.dtype) for tensor in stored.values()} == {f"torch.{dtype}"}


def test_the_error_is_that_of_the_singular_values_that_are_cut_off(models: tuple[Path, Path], tmp_path: Path) -> None:
    findings = extract(models, "rank = 4", tmp_path / "x")
    base, coder = map(weights, models)
    for row in findings.rows:
        values = torch.linalg.svdvals(coder[row["tensor"]].double() - base[row["tensor"]].double())
        assert row["error"] == pytest.approx(float(values[4:].norm() / values.norm()), rel=0.01)


def test_rounding_to_bf16_is_a_part_of_the_error(models: tuple[Path, Path], tmp_path: Path) -> None:
    exact = extract(models, f"rank = {FULL}", tmp_path / "exact").rows
    rounded = extract(models, f'rank = {FULL}\ndtype = "bfloat16"', tmp_path / "rounded").rows
    assert all(row["error"] < 1e-6 for row in exact)
    assert all(1e-4 < row["error"] < 1e-2 for row in rounded)


def test_an_energy_is_held_by_the_smallest_rank_of_each_module(models: tuple[Path, Path], tmp_path: Path) -> None:
    findings = extract(models, "energy = 0.9", tmp_path / "x")
    base, coder = map(weights, models)
    for row in findings.rows:
        energies = torch.linalg.svdvals(coder[row["tensor"]].double() - base[row["tensor"]].double()) ** 2
        assert row["rank"] == int((energies.cumsum(0) < 0.9 * energies.sum()).sum()) + 1
        assert row["error"] ** 2 <= 0.1001
    found = document(tmp_path / "x")
    ranks = {row["tensor"].removesuffix(".weight"): row["rank"] for row in findings.rows}
    assert found["r"] == found["lora_alpha"] == max(ranks.values())
    assert found["rank_pattern"] == found["alpha_pattern"]
    assert {**dict.fromkeys(ranks, found["r"]), **found["rank_pattern"]} == ranks


@pytest.mark.parametrize("keys", ["rank = 4", "energy = 0.9", 'energy = 0.7\ndtype = "bfloat16"'])
def test_peft_loads_it_and_merges_it_to_the_same(models: tuple[Path, Path], keys: str, tmp_path: Path) -> None:
    extract(models, keys, tmp_path / "x")
    ours = rebuilt(models[0], tmp_path / "x", tmp_path / "built")
    theirs = merged_by_peft(models[0], tmp_path / "x")
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-6
    assert document(tmp_path / "x")["target_modules"] == sorted(LINEAR)


def test_a_lora_comes_out_of_the_model_that_it_was_merged_into(models: tuple[Path, Path], tmp_path: Path) -> None:
    brick = adapter(models[0], tmp_path / "a")
    findings = derive(models[0], {"a": brick}, 'op = "extract-lora"\nfrom = "a"\nrank = 4', tmp_path / "x")
    assert all(row["error"] < 1e-6 for row in findings.rows)
    before, after = (rebuilt(models[0], folder, tmp_path / "built") for folder in (brick, tmp_path / "x"))
    assert max(float((before[name] - after[name]).abs().max()) for name in before) < 1e-6


def test_modules_that_did_not_change_have_no_factors(models: tuple[Path, Path], tmp_path: Path) -> None:
    coder = tuned(models[0], tmp_path / "coder", names=lambda name: "layers.1.mlp" in name or "q_proj" in name)
    findings = extract((models[0], coder), "rank = 4", tmp_path / "x")
    assert len(findings.rows) == 3 + 3
    path = "model.layers.1.mlp"
    assert document(tmp_path / "x")["target_modules"] == [
        f"{path}.down_proj", f"{path}.gate_proj", f"{path}.up_proj", "q_proj",
    ]  # fmt: skip
    ours, theirs = rebuilt(models[0], tmp_path / "x", tmp_path / "built"), merged_by_peft(models[0], tmp_path / "x")
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-6


def test_what_no_lora_holds_is_left_out_by_name(all_tuned: tuple[Path, Path], tmp_path: Path) -> None:
    findings = extract(all_tuned, "rank = 4", tmp_path / "x")
    left = [row["tensor"] for row in findings.rows if row["stored"] == "left out"]
    norms = [name for name in weights(all_tuned[0]) if "norm" in name]
    assert left == ["model.embed_tokens.weight", *norms]
    assert {row["error"] for row in findings.rows if row["stored"] == "left out"} == {1.0}
    assert "`model.embed_tokens.weight`" in findings.notes[1]
    assert "and 3 more; `save-others = true`" in findings.notes[1]
    assert document(tmp_path / "x")["modules_to_save"] is None
    assert "lm_head" in document(tmp_path / "x")["target_modules"]


def test_what_no_lora_holds_is_saved_whole_where_that_is_asked_for(
    all_tuned: tuple[Path, Path], tmp_path: Path
) -> None:
    findings = extract(all_tuned, f"rank = {FULL}\nsave-others = true", tmp_path / "x")
    assert len(findings.notes) == 1
    ours, coder = rebuilt(all_tuned[0], tmp_path / "x", tmp_path / "built"), weights(all_tuned[1])
    theirs = merged_by_peft(all_tuned[0], tmp_path / "x")
    for name, tensor in coder.items():
        assert float((ours[name] - tensor).abs().max()) < 1e-6
        assert float((theirs[name] - tensor).abs().max()) < 1e-6


def test_an_embedding_that_is_tied_stays_so(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    coder = tuned(base, tmp_path / "coder")
    extract((base, coder), f"rank = {FULL}\nsave-others = true", tmp_path / "x")
    assert document(tmp_path / "x")["ensure_weight_tying"] is True
    assert "lm_head" not in document(tmp_path / "x")["target_modules"]
    artifact = prepare(manifest(base, {"x": tmp_path / "x"}, sum_of(x=1)), tmp_path).artifact
    assert artifact.root.ties == {"lm_head.weight": "model.embed_tokens.weight"}
    torch.testing.assert_close(logits(load_with_adapter(base, tmp_path / "x")), logits(load(coder)), rtol=0, atol=1e-4)


def test_biases_are_told_of_where_a_lora_has_none(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    coder = tuned(base, tmp_path / "coder", names=lambda name: "self_attn" in name)
    findings = extract((base, coder), "rank = 4\nsave-others = true", tmp_path / "x")
    left = [row["tensor"] for row in findings.rows if row["stored"] == "left out"]
    assert left == [name for name in weights(base) if name.endswith(".bias")]
    assert "save-others" not in findings.notes[1], "that would not help"


def save_tiny(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    return folder


def test_weights_that_are_stored_transposed_are_turned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    base = save_tiny(tmp_path / "base", GPT2LMHeadModel(config))
    coder = tuned(base, tmp_path / "coder", names=lambda name: ".c_" in name and name.endswith("weight"))
    findings = extract((base, coder), f"rank = {FULL}", tmp_path / "x")
    assert document(tmp_path / "x")["fan_in_fan_out"] is True
    assert all(row["error"] < 1e-5 for row in findings.rows)
    ours, theirs = rebuilt(base, tmp_path / "x", tmp_path / "built"), merged_by_peft(base, tmp_path / "x")
    for name, tensor in weights(coder).items():
        assert float((ours[name] - tensor).abs().max()) < 1e-6
        assert float((theirs[name] - tensor).abs().max()) < 1e-6


def test_experts_of_a_mixture_are_refused_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=2,
    )  # fmt: skip
    base = save_tiny(tmp_path / "base", MixtralForCausalLM(config))
    coder = tuned(base, tmp_path / "coder")
    with pytest.raises(Unsupported, match=r"experts.* changed, and no LoRA"):
        extract((base, coder), "rank = 4", tmp_path / "x")
    attention = tuned(base, tmp_path / "attention", names=lambda name: "self_attn" in name)
    assert len(extract((base, attention), "rank = 4", tmp_path / "y").rows) == 4


def test_a_model_that_transformers_does_not_know_is_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    base = tuned(models[0], tmp_path / "base", names=lambda _: False)
    edit_config(base, "config.json", architectures=["OtherForCausalLM"])
    with pytest.raises(Unsupported, match="the modules of a OtherForCausalLM are not known here"):
        extract((base, models[1]), "rank = 4", tmp_path / "x")


def test_a_base_that_counts_layers_which_it_does_not_have_is_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    base = tuned(models[0], tmp_path / "base", names=lambda _: False)
    edit_config(base, "config.json", num_hidden_layers=50)
    with pytest.raises(Misfit, match="fewer layers than it says") as caught:
        extract((base, models[1]), "rank = 4", tmp_path / "x")
    assert caught.value.causes == ("`num_hidden_layers` in config.json is 50, and the files have 3",)


def test_norms_alone_make_no_lora(models: tuple[Path, Path], tmp_path: Path) -> None:
    coder = tuned(models[0], tmp_path / "coder", names=lambda name: "norm" in name)
    with pytest.raises(Misfit, match="nothing that a LoRA holds"):
        extract((models[0], coder), "rank = 4", tmp_path / "x")


def test_a_model_of_other_tensors_is_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    coder = tuned(models[0], tmp_path / "coder")
    edit_tensors(coder, lambda tensors: {**tensors, "lm_head.weight": torch.randn(100, 32)})
    with pytest.raises(Misfit, match=re.escape("the model is no fine-tune of the base")) as caught:
        extract((models[0], coder), "rank = 4", tmp_path / "x")
    assert "`lm_head.weight` has shape [100, 32]; the base has [96, 32]" in str(caught.value)


def test_the_same_model_gives_the_same_bytes(all_tuned: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in ("x", "y"):
        extract(all_tuned, "energy = 0.9\nsave-others = true", tmp_path / folder)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "x" / file).read_bytes() == (tmp_path / "y" / file).read_bytes()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("", "neither `rank` nor `energy`"),
        ("rank = 4\nenergy = 0.9", "both `rank` and `energy`"),
        ("rank = 0", "must be from 1"),
        ("energy = 0.0", "above 0"),
        ("energy = 1.5", "at most 1"),
        ('rank = 4\ndtype = "int8"', "`dtype`"),
        ("rank = 4\nsave-other = true", "unknown key `save-other`"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(models: tuple[Path, Path], keys: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid, match=re.escape(said)):
        extract(models, keys, tmp_path / "x")
