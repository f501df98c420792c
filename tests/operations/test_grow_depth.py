"""Deeper models say exactly what they said before, and every other way to be made deeper is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from brickctl.analysis.load import unmatched_keys
from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from brickctl.operations.grow_depth import PRE_NORM, positions
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.models import adapter, edit_config, edit_tensors, load, logits, tiny_model, tuned, weights

if TYPE_CHECKING:
    from pathlib import Path

BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", {}),
    "Llama, tied": ("llama", {"tie_word_embeddings": True}),
    "Llama, biases": ("llama", {"mlp_bias": True, "attention_bias": True}),
    "Mistral": ("mistral", {"sliding_window": 5}),
    "Qwen2": ("qwen2", {}),
    "Qwen2, windows": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 5}),
    "Qwen3": ("qwen3", {"head_dim": 16}),
}
_SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
_EXPERTS: dict[str, Any] = {
    "moe_intermediate_size": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
OTHERS: dict[str, dict[str, Any]] = {
    "ernie4_5": {"use_bias": True},
    "gemma": {},
    "glm": {},
    "granite": {"residual_multiplier": 0.5},
    "ministral": {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    "mixtral": _EXPERTS,
    "phi3": {},
    "qwen2_moe": {**_EXPERTS, "shared_expert_intermediate_size": 16, "mlp_only_layers": [1]},
    "qwen3_moe": _EXPERTS,
    "seed_oss": {"attention_bias": True, "attention_out_bias": True},
    "smollm3": {"no_rope_layers": [1, 1, 0]},
}


def grow(layers: int, more: str = "") -> str:
    return f'{{ op = "grow-depth", method = "zero-blocks", layers = {layers}{more} }}'


def text(base: Path, apply: str, settings: str = "", **bricks: Path) -> str:
    return manifest(base, bricks, apply, settings)


def any_model(folder: Path, model_type: str, **settings: Any) -> Path:
    """A tiny model of any type, every number of it random."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **{**_SIZES, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.1, 0.1)
    model.save_pretrained(folder)
    return folder


def grown_model_says_the_same(base: Path, layers: int, out: Path) -> None:
    build(text(base, grow(layers)), out)
    assert unmatched_keys(out) == ()
    model = load(out)
    assert len(model.model.layers) == layers
    assert torch.equal(logits(model), logits(load(base)))


@pytest.mark.parametrize("name", BASES)
def test_the_deeper_model_says_bit_by_bit_what_it_said_before(name: str, tmp_path: Path) -> None:
    architecture, settings = BASES[name]
    grown_model_says_the_same(tiny_model(tmp_path / "base", architecture, **settings), 5, tmp_path / "out")


@pytest.mark.parametrize("model_type", OTHERS)
def test_so_it_does_in_every_type_that_is_known(model_type: str, tmp_path: Path) -> None:
    base = any_model(tmp_path / "base", model_type, **OTHERS[model_type])
    grown_model_says_the_same(base, 6 if model_type == "qwen2_moe" else 4, tmp_path / "out")


def test_each_of_these_types_has_a_test() -> None:
    assert sorted(PRE_NORM) == sorted({*OTHERS, *(architecture for architecture, _ in BASES.values())})


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("deeper") / "base", mlp_bias=True, attention_bias=True)


def test_in_16_bits_it_is_exact_too(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", dtype="bfloat16")
    out = build(text(base, grow(6)), tmp_path / "out")
    assert {tensor.dtype for tensor in weights(out).values()} == {torch.bfloat16}
    assert torch.equal(logits(load(out, "bfloat16")), logits(load(base, "bfloat16")))


@pytest.mark.parametrize(
    ("layers", "added", "expected"),
    [
        (32, 8, (4, 8, 12, 16, 20, 24, 28, 32)),
        (3, 1, (3,)),
        (3, 2, (2, 3)),
        (5, 3, (2, 4, 5)),
        (7, 3, (3, 5, 7)),
        (2, 4, (1, 1, 2, 2)),
        (2, 3, (1, 2, 2)),
    ],
)
def test_new_blocks_stand_as_evenly_as_they_can(layers: int, added: int, expected: tuple[int, ...]) -> None:
    found = positions(layers, added)
    assert found == expected
    gaps = [end - first for first, end in zip((0, *found), found, strict=False)]
    assert max(gaps) - min(gaps) <= 1


def test_new_blocks_are_copies_whose_two_projections_are_zero(llama: Path, tmp_path: Path) -> None:
    """Of 3 layers become 5: behind the second (number 2 of the result), and behind the third (number 4)."""
    found, dense = weights(build(text(llama, grow(5)), tmp_path / "out")), weights(llama)
    for number, source in enumerate((0, 1, 1, 2, 2)):
        for name in (name for name in dense if name.startswith(f"model.layers.{source}.")):
            tensor = found.pop(name.replace(f"layers.{source}.", f"layers.{number}."))
            silent = number in (2, 4) and ("o_proj" in name or "down_proj" in name)
            assert torch.equal(tensor, torch.zeros_like(tensor) if silent else dense[name])
            assert tensor.any() != silent
    assert found.keys() == {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    assert all(torch.equal(tensor, dense[name]) for name, tensor in found.items())


def test_new_blocks_can_be_trained(llama: Path, tmp_path: Path) -> None:
    model = load(build(text(llama, grow(4)), tmp_path / "out"))
    model(torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    block = model.model.layers[3]
    assert block.mlp.down_proj.weight.grad.any()
    assert block.self_attn.o_proj.weight.grad.any()


def test_config_json_counts_the_layers_and_lists_say_of_which_kind_each_is(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2", use_sliding_window=True, max_window_layers=1, sliding_window=5)
    before = json.loads((base / "config.json").read_text())
    after = json.loads((build(text(base, grow(5)), tmp_path / "out") / "config.json").read_text())
    assert before["layer_types"] == ["full_attention", "sliding_attention", "sliding_attention"]
    kinds = ["full_attention", *["sliding_attention"] * 4]
    assert after == {**before, "num_hidden_layers": 5, "layer_types": kinds, "max_window_layers": 1}


def test_it_tells_which_layers_are_new(llama: Path, tmp_path: Path) -> None:
    notes = prepare(text(llama, grow(5)), tmp_path).artifact.notes
    assert notes == ("2 of 5 layers are new, and add nothing until they are trained: 2, 4",)


def test_the_bytes_are_the_same_however_it_is_built(llama: Path, tmp_path: Path) -> None:
    wanted = digest(text(llama, grow(7)), tmp_path / "out")
    for budget in ({"threads": 1}, {"threads": 4}, {"memory": 4 << 20}):
        assert digest(text(llama, grow(7)), tmp_path / "out", **budget) == wanted


def test_a_merged_model_grows_in_the_same_target_and_twice(llama: Path, tmp_path: Path) -> None:
    one = tuned(llama, tmp_path / "one")
    merged = build(text(llama, sum_of(one=0.5), one=one), tmp_path / "merged")
    out = build(text(llama, f"{sum_of(one=0.5)}, {grow(4)}, {grow(6)}", one=one), tmp_path / "out")
    assert torch.equal(logits(load(out)), logits(load(merged)))


def refused(base: Path, apply: str, scratch: Path, **bricks: Path) -> str:
    with pytest.raises((ManifestInvalid, Misfit, Unsupported)) as caught:
        prepare(text(base, apply, **bricks), scratch)
    return str(caught.value)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ('{ op = "grow-depth" }', "a grow-depth needs `layers`"),
        ('{ op = "grow-depth", layer = 4 }', "did you mean `layers`?"),
        ('{ op = "grow-depth", layers = 4, method = "zero-block" }', "did you mean `zero-blocks`?"),
        ('{ op = "grow-depth", layers = 4, method = "stitch" }', 'op = "stitch"'),
        (grow(4, ", seed = 1"), "unknown key `seed`"),
        (grow(0), "`layers` must be from 2 to 4096"),
        (grow(4097), "`layers` must be from 2 to 4096"),
        (grow(3), "the model has as many layers already"),
        (grow(2), "it has 3, and `layers` is how many it has afterwards"),
        (f"{grow(4)}, {sum_of(one=1.0)}", "`one` does not fit a model with other layers"),
        (f'{{ op = "stack", bricks = ["one"] }}, {grow(4)}', "a grow cannot follow a stack"),
    ],
)
def test_a_step_that_means_nothing_is_refused(steps: str, message: str, llama: Path, tmp_path: Path) -> None:
    one = adapter(llama, tmp_path / "one")
    assert message in refused(llama, steps, tmp_path, one=one)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("gemma2", {}),
        ("gemma3_text", {}),
        ("olmo2", {}),
        ("glm4", {}),
        ("exaone4", {"layer_types": ["full_attention"] * 3}),
    ],
)
def test_a_norm_behind_the_zeros_is_refused(model_type: str, settings: dict[str, Any], tmp_path: Path) -> None:
    said = refused(any_model(tmp_path / "base", model_type, **settings), grow(4), tmp_path)
    assert "is a norm behind a projection that would be zero" in said


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("stablelm", "`model.layers.0.input_layernorm.bias` is no part of a block that it knows"),
        ("starcoder2", "is no part of a block that it knows"),
        ("cohere", "`model.layers.0` has no `post_attention_layernorm.weight`"),
        ("minicpm3", "zero-blocks cannot make this model deeper"),
    ],
)
def test_what_it_does_not_know_is_refused(model_type: str, message: str, tmp_path: Path) -> None:
    assert message in refused(any_model(tmp_path / "base", model_type), grow(4), tmp_path)


def test_a_model_type_that_only_looks_alike_is_refused(tmp_path: Path) -> None:
    base = edit_config(tiny_model(tmp_path / "base"), "config.json", model_type="minimax")
    assert "its model type is `minimax`" in refused(base, grow(4), tmp_path)


def test_layers_of_two_kinds_are_refused_without_asking_for_a_key_that_there_is_not(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    edit_tensors(base, lambda found: {**found, "mtp.layers.0.norm.weight": torch.ones(32)})
    assert "it has layers `model.layers`, `mtp.layers`" in (said := refused(base, grow(4), tmp_path))
    assert "stack =" not in said
    edit_config(base, "config.json", model_type="llava")
    assert "its model type is `llava`" in refused(base, grow(4), tmp_path)


def test_quantised_blocks_are_refused(tmp_path: Path) -> None:
    base, name = tiny_model(tmp_path / "base"), "model.layers.1.mlp.down_proj.weight"
    edit_tensors(base, lambda found: {**found, name: found[name].to(torch.int8)})
    assert f"`{name}` is stored as I8" in refused(base, grow(4), tmp_path)


def test_a_kind_of_layer_that_comes_by_number_is_not_moved(tmp_path: Path) -> None:
    base = any_model(tmp_path / "base", "qwen2_moe", **OTHERS["qwen2_moe"] | {"mlp_only_layers": []})
    edit_config(base, "config.json", decoder_sparse_step=2)
    assert "by `decoder_sparse_step` every 2 layers" in refused(base, grow(4), tmp_path)
