"""Upcycled mixtures against the dense model that each of their experts is, as plain transformers runs both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.analysis.load import unmatched_keys
from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from tests.support.architectures import model_of
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.models import adapter, edit_tensors, load, logits, tiny_model, tuned, weights
from tests.support.neurons import distance

if TYPE_CHECKING:
    from pathlib import Path

BASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Llama": ("llama", "mixtral", {}),
    "Llama, tied": ("llama", "mixtral", {"tie_word_embeddings": True}),
    "Llama, wide heads, another activation": ("llama", "mixtral", {"head_dim": 16, "hidden_act": "gelu"}),
    "Llama, a width that is filled up": ("llama", "mixtral", {"intermediate_size": 45}),
    "Mistral, windows": ("mistral", "mixtral", {"sliding_window": 5}),
    "Qwen2": ("qwen2", "qwen2_moe", {}),
    "Qwen2, windows": ("qwen2", "qwen2_moe", {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 5}),
    "Qwen3": ("qwen3", "qwen3_moe", {"head_dim": 16}),
}


def grow(which: str = "experts = 4, active = 2") -> str:
    return f'{{ op = "grow-experts", {which} }}'


def text(base: Path, apply: str, settings: str = "", **bricks: Path) -> str:
    return manifest(base, bricks, apply, settings)


def config_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("experts") / "base")


@pytest.mark.parametrize(
    "which", ["experts = 4, active = 2", "experts = 5, active = 3", 'experts = 4, active = 1, router = "zeros"']
)
@pytest.mark.parametrize("name", BASES)
def test_it_says_what_the_dense_model_says(name: str, which: str, tmp_path: Path) -> None:
    """fp32: at most 1e-6 off, of all logits in the 2-norm."""
    architecture, mixture, settings = BASES[name]
    base = tiny_model(tmp_path / "base", architecture, **settings)
    out = build(text(base, grow(which)), tmp_path / "out")
    assert config_of(out)["model_type"] == mixture
    assert unmatched_keys(out) == ()
    assert distance(logits(load(out)), logits(load(base))) <= 1e-6


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_whatever_the_router_becomes_equal_experts_say_the_same(architecture: str, tmp_path: Path) -> None:
    """Weights that did not add up to 1 would be seen: logits of routers with a spread of 30 choose very unevenly."""
    base = tiny_model(tmp_path / "base", architecture)
    out = build(text(base, grow()), tmp_path / "out")
    model = load(out)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("mlp.gate.weight"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 5)
    assert distance(logits(model), logits(load(base))) <= 1e-6


def test_every_expert_is_the_ffn_and_all_else_is_as_before(llama: Path, tmp_path: Path) -> None:
    found, dense = weights(build(text(llama, grow()), tmp_path / "out")), weights(llama)
    parts = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
    for layer in range(3):
        block = f"model.layers.{layer}.block_sparse_moe"
        for expert in range(4):
            for ours, theirs in parts.items():
                tensor = found.pop(f"{block}.experts.{expert}.{ours}.weight")
                assert torch.equal(tensor, dense[f"model.layers.{layer}.mlp.{theirs}.weight"])
        router = found.pop(f"{block}.gate.weight")
        assert router.shape == (4, 32)
        assert float(router.std()) == pytest.approx(0.02, rel=0.15)
        assert router.abs().max() <= 0.02 * 3**0.5
    assert found.keys() == {name for name in dense if ".mlp." not in name}
    assert all(torch.equal(tensor, dense[name]) for name, tensor in found.items())


def test_a_router_of_zeros_and_random_ones_by_their_seed(llama: Path, tmp_path: Path) -> None:
    said = [grow(f"experts = 4, active = 2, {more}") for more in ('router = "zeros"', "seed = 0", "seed = 1")]
    zeros, first, second = (weights(build(text(llama, step), tmp_path / "out")) for step in said)
    routers = [name for name in zeros if name.endswith(".gate.weight")]
    assert len(routers) == 3
    assert not any(zeros[name].any() for name in routers)
    assert not any(torch.equal(first[name], second[name]) for name in routers)
    assert not torch.equal(first[routers[0]], first[routers[1]])
    assert digest(text(llama, grow()), tmp_path / "a") == digest(text(llama, said[1]), tmp_path / "b")


def test_experts_can_be_trained_apart(llama: Path, tmp_path: Path) -> None:
    """A random router sends tokens to all experts, and what they learn differs."""
    model = load(build(text(llama, grow()), tmp_path / "out"))
    tokens = torch.arange(1, 49)[None]
    model(tokens, labels=tokens).loss.backward()
    for layer in model.model.layers:
        grown = layer.mlp.experts.down_proj.grad
        assert all(expert.any() for expert in grown)
        assert not torch.allclose(grown[0], grown[1], rtol=0.1)


def test_it_tells_how_large_the_model_becomes(llama: Path, tmp_path: Path) -> None:
    """An FFN has 3 x 32 x 48 = 4,608 numbers; three more of it in each of 3 layers, and routers of 4 x 32."""
    dense = sum(tensor.numel() for tensor in weights(llama).values())
    notes = prepare(text(llama, grow()), tmp_path).artifact.notes
    grown = dense + 3 * (3 * 4608 + 128)
    assert notes == (f"4 equal experts for each FFN, 2 of them active: {grown:,} parameters instead of {dense:,}",)


def test_it_tells_what_16_bits_do_to_weights(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", dtype="bfloat16")
    said = "run in bfloat16, weights of active experts add up to 1 up to rounding, about 2^-8"
    for which, told in (
        ("active = 2", True),
        ("active = 1", False),
        ('active = 2, router = "zeros"', False),
        ('active = 3, router = "zeros"', True),
    ):
        assert (said in prepare(text(base, grow(f"experts = 4, {which}")), tmp_path).artifact.notes) is told
    out = build(text(base, grow()), tmp_path / "out")
    assert {tensor.dtype for tensor in weights(out).values()} == {torch.bfloat16}
    assert distance(logits(load(out)), logits(load(base))) <= 1e-6
    exact = logits(load(base))
    rounded = distance(logits(load(base, "bfloat16")), exact)
    assert distance(logits(load(out, "bfloat16")), exact) <= 2 * rounded


def test_the_bytes_are_the_same_however_it_is_built(llama: Path, tmp_path: Path) -> None:
    wanted = digest(text(llama, grow()), tmp_path / "out")
    for budget in ({"threads": 1}, {"threads": 4}, {"memory": 4 << 20}):
        assert digest(text(llama, grow()), tmp_path / "out", **budget) == wanted


def test_a_merged_and_grown_model_is_upcycled_and_then_made_deeper(llama: Path, tmp_path: Path) -> None:
    one = tuned(llama, tmp_path / "one")
    merged = build(text(llama, sum_of(one=0.5), one=one), tmp_path / "merged")
    wider, deeper = '{ op = "grow-width", neurons = 64 }', '{ op = "grow-depth", layers = 4 }'
    out = build(text(llama, f"{sum_of(one=0.5)}, {wider}, {grow()}, {deeper}", one=one), tmp_path / "out")
    assert unmatched_keys(out) == ()
    assert distance(logits(load(out)), logits(load(merged))) <= 1e-6


def refused(base: Path, apply: str, scratch: Path, **bricks: Path) -> str:
    with pytest.raises((ManifestInvalid, Misfit, Unsupported)) as caught:
        prepare(text(base, apply, **bricks), scratch)
    return str(caught.value)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ('{ op = "grow-experts" }', "a grow-experts needs `experts` and `active`"),
        (grow("experts = 4"), "a grow-experts needs `experts` and `active`"),
        (grow("expert = 4, active = 2"), "did you mean `experts`?"),
        (grow("experts = 4, active = 2, width = 8"), "unknown key `width`"),
        (grow("experts = 1, active = 1"), "`experts` must be from 2 to 1024"),
        (grow("experts = 1025, active = 1"), "`experts` must be from 2 to 1024"),
        (grow("experts = 4, active = 5"), "`active` must be from 1 to the number of experts"),
        (grow("experts = 4, active = 0"), "`active` must be from 1 to the number of experts"),
        (grow('experts = 4, active = 2, router = "zero"'), "did you mean `zeros`?"),
        (grow('experts = 4, active = 2, router = "zeros", seed = 1'), "`seed` is for a random router"),
        (f"{grow()}, {grow()}", "the model is a mixture of experts already"),
        (f"{grow()}, {sum_of(one=1.0)}", "`one` does not fit the model as it is by now"),
        (f'{{ op = "stack", bricks = ["one"] }}, {grow()}', "a grow cannot follow a stack"),
    ],
)
def test_a_step_that_means_nothing_is_refused(steps: str, message: str, llama: Path, tmp_path: Path) -> None:
    one = adapter(llama, tmp_path / "one")
    assert message in refused(llama, steps, tmp_path, one=one)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("gemma2", "its model type is `gemma2`"),
        ("gpt2", "its model type is `gpt2`"),
        ("mixtral", "the model is a mixture of experts already"),
    ],
)
def test_models_that_no_stock_mixture_can_speak_for_are_refused(
    architecture: str, message: str, tmp_path: Path
) -> None:
    assert message in refused(model_of(architecture, tmp_path / "base"), grow(), tmp_path)


@pytest.mark.parametrize("key", ["mlp_bias", "attention_bias"])
def test_biases_that_mixtral_does_not_have_are_refused(key: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", **{key: True})
    assert f"config.json has `{key} = true`, which MixtralForCausalLM cannot do" in refused(base, grow(), tmp_path)


def test_tensors_without_a_place_are_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    edit_tensors(base, lambda found: {**found, "model.layers.1.mlp.norm.weight": torch.ones(48)})
    assert "`model.layers.1.mlp.norm.weight`, for which MixtralForCausalLM has no place" in refused(
        base, grow(), tmp_path
    )


def test_quantised_neurons_are_refused(tmp_path: Path) -> None:
    base, name = tiny_model(tmp_path / "base"), "model.layers.1.mlp.up_proj.weight"
    edit_tensors(base, lambda found: {**found, name: found[name].to(torch.int8)})
    assert f"`{name}` is stored as I8" in refused(base, grow(), tmp_path)
