"""Wider models say what they said before, up to the order in which they add."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.analysis.load import unmatched_keys
from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from tests.support.architectures import model_of
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.models import adapter, edit_config, edit_tensors, load, logits, tiny_model, tuned, weights
from tests.support.neurons import distance

if TYPE_CHECKING:
    from pathlib import Path

BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", {}),
    "Llama, tied": ("llama", {"tie_word_embeddings": True}),
    "Llama, biases": ("llama", {"mlp_bias": True, "attention_bias": True}),
    "Llama, wide heads, another activation": ("llama", {"head_dim": 16, "hidden_act": "gelu"}),
    "Mistral": ("mistral", {"sliding_window": 5}),
    "Qwen2": ("qwen2", {}),
    "Qwen3": ("qwen3", {"head_dim": 16}),
}
WIDTHS = {"twice": 96, "a few": 53, "five times and some": 250}


def grow(which: str = "neurons = 72") -> str:
    return f'{{ op = "grow-width", {which} }}'


def text(base: Path, apply: str, settings: str = "", **bricks: Path) -> str:
    return manifest(base, bricks, apply, settings)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("wider") / "base", mlp_bias=True)


@pytest.mark.parametrize("name", BASES)
def test_with_more_neurons_it_says_the_same(name: str, tmp_path: Path) -> None:
    """fp32: relative to the norm of all logits, at most 1e-6 off."""
    architecture, settings = BASES[name]
    base = tiny_model(tmp_path / "base", architecture, **settings)
    dense = logits(load(base))
    for width in WIDTHS.values():
        out = build(text(base, grow(f"neurons = {width}")), tmp_path / "out")
        assert unmatched_keys(out) == ()
        assert distance(logits(load(out)), dense) <= 1e-6


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("name", BASES)
def test_with_whole_multiples_of_the_channels_it_says_the_same(name: str, times: int, tmp_path: Path) -> None:
    architecture, settings = BASES[name]
    base = tiny_model(tmp_path / "base", architecture, **settings)
    out = build(text(base, grow(f"hidden = {times * 32}, neurons = 72")), tmp_path / "out")
    assert unmatched_keys(out) == ()
    model = load(out)
    assert model.config.hidden_size == times * 32
    assert model.model.layers[0].self_attn.head_dim == settings.get("head_dim", 8)
    assert distance(logits(model), logits(load(base))) <= 1e-6


@pytest.mark.parametrize("which", ["neurons = 150", "hidden = 96"])
def test_in_16_bits_no_weight_is_rounded(which: str, tmp_path: Path) -> None:
    """Three copies share as 1/2, 1/4 and 1/4: run in fp32, models of bf16 weights are as close as those of fp32."""
    base = tiny_model(tmp_path / "base", dtype="bfloat16")
    out = build(text(base, grow(which)), tmp_path / "out")
    assert {tensor.dtype for tensor in weights(out).values()} == {torch.bfloat16}
    assert distance(logits(load(out)), logits(load(base))) <= 1e-6


def test_copies_are_rows_and_shared_columns_of_the_model(llama: Path, tmp_path: Path) -> None:
    """Of 48 neurons every second one gets a copy, behind the old ones, and both have half of its column."""
    found, dense = weights(build(text(llama, grow()), tmp_path / "out")), weights(llama)
    copied = list(range(0, 48, 2))
    for layer in range(3):
        ffn = f"model.layers.{layer}.mlp"
        for part in ("gate_proj.weight", "up_proj.weight", "gate_proj.bias", "up_proj.bias"):
            old = dense.pop(f"{ffn}.{part}")
            assert torch.equal(found.pop(f"{ffn}.{part}"), torch.cat([old, old[copied]]))
        old = dense.pop(f"{ffn}.down_proj.weight")
        halved = torch.where(torch.arange(48) % 2 == 0, 0.5, 1.0) * old
        assert torch.equal(found.pop(f"{ffn}.down_proj.weight"), torch.cat([halved, halved[:, copied]], 1))
    assert found.keys() == dense.keys()
    assert all(torch.equal(tensor, dense[name]) for name, tensor in found.items())


def test_config_json_says_how_wide_it_is(llama: Path, tmp_path: Path) -> None:
    before = json.loads((llama / "config.json").read_text())
    after = json.loads(
        (build(text(llama, grow("neurons = 72, hidden = 64")), tmp_path / "out") / "config.json").read_text()
    )
    assert after == {**before, "intermediate_size": 72, "hidden_size": 64, "head_dim": 8}


def test_a_tied_head_becomes_one_of_its_own_only_where_channels_are_copied(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    assert "lm_head.weight" not in weights(build(text(base, grow()), tmp_path / "wide"))
    found = weights(build(text(base, grow("hidden = 64")), tmp_path / "out"))
    assert torch.equal(found["lm_head.weight"] * 2, found["model.embed_tokens.weight"])
    notes = prepare(text(base, grow("hidden = 64")), tmp_path).artifact.notes
    assert notes == (
        "64 channels pass between blocks, each of the 32 before 2 times",
        "`lm_head.weight` shared the embedding's weights and no longer does: it takes a share of each channel",
    )


NOISE = 0.02


def test_noise_moves_what_goes_into_copies_and_nothing_else(llama: Path, tmp_path: Path) -> None:
    exact = weights(build(text(llama, grow()), tmp_path / "exact"))
    noisy = weights(build(text(llama, grow(f"neurons = 72, noise = {NOISE}")), tmp_path / "noisy"))
    for name, tensor in noisy.items():
        if name.endswith(("gate_proj.weight", "up_proj.weight")):
            assert torch.equal(tensor[:48], exact[name][:48])
            moved = tensor[48:] / exact[name][48:] - 1
            assert 0.9 * NOISE < moved.abs().max() <= NOISE * (1 + 1e-4)
            assert float(moved.norm() / moved.numel() ** 0.5) == pytest.approx(NOISE / 3**0.5, rel=0.05)
        else:
            assert torch.equal(tensor, exact[name])


def test_noise_sets_copies_apart_and_says_how_far(llama: Path, tmp_path: Path) -> None:
    """Equal copies get equal gradients for ever; with noise they do not."""
    for noise, apart in ((0.0, False), (NOISE, True)):
        model = load(build(text(llama, grow(f"neurons = 96, noise = {noise}")), tmp_path / "out"))
        model(torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
        grown = model.model.layers[1].mlp.up_proj.weight.grad
        assert torch.allclose(grown[:48], grown[48:], rtol=1e-3, atol=1e-7) is not apart
    off = distance(logits(model), logits(load(llama)))
    assert 1e-5 < off < NOISE
    notes = prepare(text(llama, grow(f"neurons = 96, noise = {NOISE}")), tmp_path).artifact.notes
    assert notes[0] == "each FFN has 96 neurons, 48 of them copies, which share what they put out"
    assert notes[1].startswith("weights into the copies moved by up to 0.02 of their size (noise), 0.012 of their norm")
    assert len(notes) == 2


def test_another_seed_is_another_noise_and_the_same_is_the_same(llama: Path, tmp_path: Path) -> None:
    noisy = {seed: text(llama, grow(f"neurons = 72, noise = 0.1, seed = {seed}")) for seed in (0, 1)}
    assert digest(noisy[0], tmp_path / "a") == digest(noisy[0], tmp_path / "b")
    assert digest(noisy[0], tmp_path / "a") != digest(noisy[1], tmp_path / "b")
    assert digest(text(llama, grow("neurons = 72, noise = 0.1")), tmp_path / "a") == digest(noisy[0], tmp_path / "b")


def test_copies_of_a_second_step_are_no_copies_of_the_first(llama: Path, tmp_path: Path) -> None:
    """Both copy the same neurons, and equal copies would learn the same for ever."""
    steps = ", ".join(grow(f"neurons = {width}, noise = 0.1") for width in (96, 192))
    found = weights(build(text(llama, steps), tmp_path / "out"))
    for layer in range(3):
        rows = found[f"model.layers.{layer}.mlp.up_proj.weight"]
        assert len(rows.unique(dim=0)) == len(rows) == 192


def test_heads_stay_as_wide_where_config_json_does_not_say_how_wide(tmp_path: Path) -> None:
    """A Qwen3 means 128, and others the share of a head of their width."""
    for architecture, settings, width in (("qwen3", {"head_dim": 128}, 128), ("llama", {}, 8)):
        base = tiny_model(tmp_path / architecture, architecture, **settings)
        said = json.loads((base / "config.json").read_text())
        said.pop("head_dim", None)
        (base / "config.json").write_text(json.dumps(said))
        out = build(text(base, grow("hidden = 64")), tmp_path / f"{architecture}-out")
        assert unmatched_keys(out) == ()
        assert load(out).config.head_dim == width


def test_types_in_which_bits_are_lost_are_told(tmp_path: Path) -> None:
    for dtype, lost in (("bfloat16", "0.0039"), ("float16", "0.00049")):
        base = tiny_model(tmp_path / dtype, dtype=dtype)
        notes = prepare(text(base, grow("neurons = 72, noise = 0.0001")), tmp_path).artifact.notes
        assert any(f"is lost in {dtype}, whose steps are larger: {lost}" in note for note in notes)
        assert any("shares below 2^-14 are rounded in float16" in note for note in notes) is (dtype == "float16")


@pytest.mark.parametrize("which", ["neurons = 250, noise = 0.1", "neurons = 72, hidden = 96"])
def test_the_bytes_are_the_same_however_it_is_built(which: str, llama: Path, tmp_path: Path) -> None:
    wanted = digest(text(llama, grow(which)), tmp_path / "out")
    for budget in ({"threads": 1}, {"threads": 4}, {"memory": 4 << 20}):
        assert digest(text(llama, grow(which)), tmp_path / "out", **budget) == wanted


def test_a_merged_model_grows_in_the_same_target_and_again(llama: Path, tmp_path: Path) -> None:
    one = tuned(llama, tmp_path / "one")
    merged = build(text(llama, sum_of(one=0.5), one=one), tmp_path / "merged")
    deeper = '{ op = "grow-depth", layers = 4 }'
    out = build(
        text(llama, f"{sum_of(one=0.5)}, {grow()}, {deeper}, {grow('neurons = 100')}", one=one), tmp_path / "out"
    )
    assert distance(logits(load(out)), logits(load(merged))) <= 1e-6


def refused(base: Path, apply: str, scratch: Path, **bricks: Path) -> str:
    with pytest.raises((ManifestInvalid, Misfit, Unsupported)) as caught:
        prepare(text(base, apply, **bricks), scratch)
    return str(caught.value)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ('{ op = "grow-width" }', "a grow-width needs `neurons` or `hidden`"),
        (grow("neuron = 72"), "did you mean `neurons`?"),
        (grow("neurons = 72, sigma = 1.0"), "unknown key `sigma`"),
        (grow("neurons = 48"), "the model has as many neurons already"),
        (grow("neurons = 1"), "`neurons` must be from 2 to 262,144"),
        (grow("neurons = 262145"), "`neurons` must be from 2 to 262,144"),
        (grow("neurons = 72, noise = 1.0"), "`noise` must be at least 0 and below 1"),
        (grow("neurons = 72, noise = -0.1"), "`noise` must be at least 0 and below 1"),
        (grow("hidden = 64, noise = 0.1"), "`noise` is for the copies of `neurons`"),
        (grow("neurons = 72, seed = 1"), "`seed` is of the `noise`, and there is none"),
        (grow("hidden = 48"), "only multiples of that: 64, 96, ..."),
        (grow("hidden = 32"), "the model cannot have 32 channels"),
        (f"{grow()}, {sum_of(one=1.0)}", "`one` does not fit the model as it is by now"),
        (f"{grow('hidden = 64')}, {sum_of(one=1.0)}", "`one` does not fit the model as it is by now"),
        (f'{{ op = "stack", bricks = ["one"] }}, {grow()}', "a grow cannot follow a stack"),
    ],
)
def test_a_step_that_means_nothing_is_refused(steps: str, message: str, llama: Path, tmp_path: Path) -> None:
    one = adapter(llama, tmp_path / "one")
    assert message in refused(llama, steps, tmp_path, one=one)


def test_models_without_such_ffns_are_refused(tmp_path: Path) -> None:
    assert "no FFN of it has `gate_proj`" in refused(model_of("gpt2", tmp_path / "gpt2"), grow(), tmp_path)
    assert "is a mixture of experts already" in refused(model_of("qwen3_moe", tmp_path / "moe"), grow(), tmp_path)


def test_channels_of_other_models_are_refused_and_their_neurons_are_not(tmp_path: Path) -> None:
    """Gemma multiplies embeddings by the root of their width."""
    base = model_of("gemma2", tmp_path / "base")
    assert "its model type is `gemma2`" in refused(base, grow("hidden = 64"), tmp_path)
    assert distance(logits(load(build(text(base, grow()), tmp_path / "out"))), logits(load(base))) <= 1e-6


def test_tensors_that_it_does_not_know_are_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    edit_tensors(base, lambda found: {**found, "model.layers.1.mlp.norm.weight": torch.ones(48)})
    assert "`model.layers.1.mlp.norm.weight` is no part of an FFN" in refused(base, grow(), tmp_path)
    assert "is none of the tensors that it knows" in refused(base, grow("hidden = 64"), tmp_path)


def test_tensors_of_strange_shapes_are_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", mlp_bias=True)
    bias, out = "model.layers.1.mlp.up_proj.bias", "model.layers.1.self_attn.o_proj.weight"
    edit_tensors(base, lambda found: {**found, bias: torch.ones(47), out: torch.ones(4, 8, 32)})
    assert f"`{bias}` has shape [47], and not [48]" in refused(base, grow(), tmp_path)
    assert f"`{out}` is F32 [4, 8, 32]; the model has 32 channels" in refused(base, grow("hidden = 64"), tmp_path)


def test_a_config_json_that_cannot_say_the_width_is_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    edit_config(base, "config.json", intermediate_size=[48, 48, 48], hidden_size=None)
    assert "it has no `intermediate_size = 48`" in refused(base, grow(), tmp_path)
    assert "it has no `hidden_size` and" in refused(base, grow("hidden = 64"), tmp_path)
    edit_config(base, "config.json", hidden_size=16)
    assert "F32 [96, 32]; the model has 16 channels" in refused(base, grow("hidden = 64"), tmp_path)


def test_quantised_neurons_are_refused(tmp_path: Path) -> None:
    base, name = tiny_model(tmp_path / "base"), "model.layers.1.mlp.up_proj.weight"
    edit_tensors(base, lambda found: {**found, name: found[name].to(torch.int8)})
    assert f"`{name}` is stored as I8" in refused(base, grow(), tmp_path)
