"""A mixture with one more expert: the others, and what the router thinks of them, do not change in a bit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.analysis.load import unmatched_keys
from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from tests.support.building import build, digest, manifest, prepare
from tests.support.models import (
    adapter,
    edit_config,
    edit_tensors,
    load,
    logits,
    merged_by_peft,
    tiny_model,
    tuned,
    weights,
)
from tests.support.neurons import distance, partition

if TYPE_CHECKING:
    from pathlib import Path

GROWN = '{ op = "grow-experts", experts = 4, active = 2 }'
ONE = '{ op = "add-expert", brick = "one" }'
PARTS = ("gate_proj", "up_proj", "down_proj")
BASES: dict[str, tuple[str, str, tuple[str, str, str], dict[str, Any]]] = {
    "Mixtral": ("llama", "block_sparse_moe", ("w1", "w3", "w2"), {"tie_word_embeddings": True}),
    "Mixtral, a width that is filled up": (
        "mistral",
        "block_sparse_moe",
        ("w1", "w3", "w2"),
        {"intermediate_size": 45},
    ),
    "Qwen2-MoE": ("qwen2", "mlp", PARTS, {}),
    "Qwen3-MoE": ("qwen3", "mlp", PARTS, {"head_dim": 16}),
}


def text(base: Path, apply: str, **bricks: Path) -> str:
    return manifest(base, bricks, apply)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("another") / "base")


@pytest.fixture(scope="module")
def one(llama: Path) -> Path:
    return tuned(llama, llama.with_name("one"))


@pytest.mark.parametrize("name", BASES)
def test_the_new_expert_is_the_ffn_of_the_brick_and_the_others_stay(name: str, tmp_path: Path) -> None:
    architecture, block, parts, settings = BASES[name]
    base = tiny_model(tmp_path / "base", architecture, **settings)
    one = tuned(base, tmp_path / "one")
    before = weights(build(text(base, GROWN), tmp_path / "before"))
    out = build(text(base, f"{GROWN}, {ONE}", one=one), tmp_path / "out")
    assert unmatched_keys(out) == ()
    after, brick = weights(out), weights(one)
    for layer in range(3):
        for ours, theirs in zip(parts, PARTS, strict=True):
            new = after.pop(f"model.layers.{layer}.{block}.experts.4.{ours}.weight")
            wanted = brick[f"model.layers.{layer}.mlp.{theirs}.weight"]
            assert torch.equal(new[: wanted.shape[0], : wanted.shape[1]], wanted)
            assert new.count_nonzero() == wanted.count_nonzero()
        router = f"model.layers.{layer}.{block}.gate.weight"
        rows = after.pop(router)
        assert torch.equal(rows[:4], before[router])
        assert torch.equal(rows[4], before.pop(router).double().mean(0).float())
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_config_json_counts_one_more(llama: Path, one: Path, tmp_path: Path) -> None:
    outs = [build(text(llama, steps, one=one), tmp_path / "out") for steps in (GROWN,)]
    before = json.loads((outs[0] / "config.json").read_text())
    after = json.loads(
        (build(text(llama, f"{GROWN}, {ONE}, {ONE}", one=one), tmp_path / "b") / "config.json").read_text()
    )
    assert after == {**before, "num_local_experts": 6}


def test_an_adapter_is_folded_in(llama: Path, tmp_path: Path) -> None:
    lora = adapter(llama, tmp_path / "lora")
    found = weights(build(text(llama, f"{GROWN}, {ONE}", one=lora), tmp_path / "out"))
    merged = merged_by_peft(llama, lora)
    for ours, theirs in zip(("w1", "w3", "w2"), PARTS, strict=True):
        expert = found[f"model.layers.1.block_sparse_moe.experts.4.{ours}.weight"]
        assert distance(expert, merged[f"model.layers.1.mlp.{theirs}.weight"]) < 1e-6


def test_where_one_is_active_nothing_changes_since_a_mean_is_never_the_largest(
    llama: Path, one: Path, tmp_path: Path
) -> None:
    mixture = build(text(llama, GROWN.replace("active = 2", "active = 1")), tmp_path / "mixture")
    apart = {f"model.layers.1.block_sparse_moe.experts.{number}.w2.weight": number for number in range(4)}
    edit_tensors(mixture, lambda found: {name: found[name] * (1 + apart.get(name, 0)) for name in found})
    before = logits(load(mixture))
    assert distance(before, logits(load(llama))) > 0.01
    prepared = prepare(text(mixture, ONE, one=one), tmp_path)
    assert "expert 4 is chosen by nobody until the router is trained" in prepared.artifact.notes[-1]
    assert torch.equal(logits(load(build(text(mixture, ONE, one=one), tmp_path / "out"))), before)


def test_with_several_active_the_new_expert_takes_part(llama: Path, one: Path, tmp_path: Path) -> None:
    out = build(text(llama, f"{GROWN}, {ONE}", one=one), tmp_path / "out")
    assert 1e-4 < distance(logits(load(out)), logits(load(llama))) < 0.5


def test_a_base_that_is_a_mixture_gets_one_too(llama: Path, one: Path, tmp_path: Path) -> None:
    mixture = build(text(llama, GROWN), tmp_path / "mixture")
    direct = weights(build(text(llama, f"{GROWN}, {ONE}", one=one), tmp_path / "direct"))
    found = weights(build(text(mixture, ONE, one=one), tmp_path / "out"))
    assert found.keys() == direct.keys()
    assert all(torch.equal(tensor, direct[name]) for name, tensor in found.items())


def test_it_tells_what_is_taken_and_what_is_not(llama: Path, one: Path, tmp_path: Path) -> None:
    notes = prepare(text(llama, f"{GROWN}, {ONE}", one=one), tmp_path).artifact.notes
    assert notes[1:] == ("expert 4 of 0 to 4 is the FFNs of `one`; what it has outside of them is left out",)


def test_the_bytes_are_the_same_however_it_is_built(llama: Path, tmp_path: Path) -> None:
    lora = adapter(llama, tmp_path / "lora")
    wanted = digest(text(llama, f"{GROWN}, {ONE}", one=lora), tmp_path / "out")
    for budget in ({"threads": 1}, {"threads": 4}, {"memory": 4 << 20}):
        assert digest(text(llama, f"{GROWN}, {ONE}", one=lora), tmp_path / "out", **budget) == wanted


def refused(base: Path, apply: str, scratch: Path, **bricks: Path) -> str:
    with pytest.raises((ManifestInvalid, Misfit, Unsupported)) as caught:
        prepare(text(base, apply, **bricks), scratch)
    return str(caught.value)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ('{ op = "add-expert" }', "an add-expert needs `brick`"),
        ('{ op = "add-expert", brick = "base" }', "`brick` may not be the base"),
        ('{ op = "add-expert", brick = "two" }', "uses `two`, which is no brick here"),
        ('{ op = "add-expert", brick = "one", layer = 1 }', "unknown key `layer`"),
        (ONE, "the model is no stock mixture of experts"),
        (f'{{ op = "grow-width", neurons = 64 }}, {ONE}', "the model is no stock mixture of experts"),
        (f'{GROWN}, {{ op = "grow-depth", layers = 4 }}, {ONE}', "`one` does not fit a model with other layers"),
        (
            f'{{ op = "split", brick = "groups", active = 4 }}, {ONE}',
            "`model.layers.0.mlp` has 48 neurons of 32 numbers; experts have 16 of 32",
        ),
    ],
)
def test_a_step_that_means_nothing_is_refused(steps: str, message: str, llama: Path, one: Path, tmp_path: Path) -> None:
    groups = partition(llama, tmp_path / "groups", groups=4)
    assert message in refused(llama, steps, tmp_path, one=one, groups=groups)


def test_an_expert_may_be_narrower_than_the_others(llama: Path, one: Path, tmp_path: Path) -> None:
    """Of a mixture that was grown from a wider model: it is filled up with zeros."""
    out = build(text(llama, f'{{ op = "grow-width", neurons = 64 }}, {GROWN}, {ONE}', one=one), tmp_path / "out")
    expert = weights(out)["model.layers.0.block_sparse_moe.experts.4.w1.weight"]
    assert expert.shape == (64, 32)
    assert not expert[48:].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_act": "gelu"}, "`hidden_act` in its config.json is gelu; the running model has silu"),
        ({"mlp_bias": True}, "it has `model.layers.0.mlp.down_proj.bias`, for which experts have no place"),
        ({"intermediate_size": 64}, "has 64 neurons of 32 numbers; experts have 48 of 32"),
        ({"num_hidden_layers": 2}, "it has no FFN `model.layers.2.mlp`"),
    ],
)
def test_a_model_of_another_make_is_refused(
    settings: dict[str, Any], message: str, llama: Path, tmp_path: Path
) -> None:
    other = tiny_model(tmp_path / "other", **settings)
    assert message in refused(llama, f"{GROWN}, {ONE}", tmp_path, one=other)


def test_a_brick_that_is_no_dense_model_is_refused(llama: Path, tmp_path: Path) -> None:
    mixture = build(text(llama, GROWN), tmp_path / "mixture")
    assert "`one` is a mixture of experts already" in refused(llama, f"{GROWN}, {ONE}", tmp_path, one=mixture)
    groups = partition(llama, tmp_path / "groups", groups=4)
    assert "cannot be merged" in refused(llama, f"{GROWN}, {ONE}", tmp_path, one=groups)


def test_quantised_experts_are_refused_old_ones_and_new_ones(llama: Path, tmp_path: Path) -> None:
    packed, name = tuned(llama, tmp_path / "packed"), "model.layers.1.mlp.up_proj.weight"
    edit_tensors(packed, lambda found: {**found, name: found[name].to(torch.int8)})
    assert "`packed` has quantised neurons" in refused(
        llama, f'{GROWN}, {{ op = "add-expert", brick = "packed" }}', tmp_path, packed=packed
    )
    mixture, one = build(text(llama, GROWN), tmp_path / "mixture"), tuned(llama, tmp_path / "one")
    old = "model.layers.1.block_sparse_moe.experts.2.w3.weight"
    edit_tensors(mixture, lambda found: {**found, old: found[old].to(torch.int8)})
    assert f"`{old}` is stored as I8, and the new expert is not" in refused(mixture, ONE, tmp_path, one=one)


def test_many_experts_are_no_harder_than_a_few(tmp_path: Path) -> None:
    """A mean that was made of one sum after another took a minute for 128 of them, and never ended for 300."""
    base = tiny_model(tmp_path / "base", num_hidden_layers=1)
    one, many = tuned(base, tmp_path / "one"), GROWN.replace("4", "300")
    found = weights(build(text(base, f"{many}, {ONE}, {ONE}", one=one), tmp_path / "out"))
    router = found["model.layers.0.block_sparse_moe.gate.weight"]
    assert router.shape == (302, 32)
    assert torch.allclose(router[300], router[:300].double().mean(0).float(), rtol=1e-6, atol=1e-9)
    assert torch.allclose(router[301], router[300], rtol=1e-5, atol=1e-9)


def test_a_mixture_that_is_not_what_its_config_json_says_is_refused(llama: Path, one: Path, tmp_path: Path) -> None:
    mixture = build(text(llama, GROWN), tmp_path / "mixture")
    edit_config(mixture, "config.json", num_local_experts=8)
    said = refused(mixture, ONE, tmp_path, one=one)
    assert "block_sparse_moe.gate.weight` is F32 [4, 32]; `num_local_experts` in config.json is 8" in said
    edit_config(mixture, "config.json", num_local_experts=4)
    wide, narrow = (f"model.layers.1.block_sparse_moe.experts.{number}.w2.weight" for number in (3, 0))
    edit_tensors(mixture, lambda found: {**found, wide: torch.ones(32, 56)})
    assert f"`{wide}` has shape [32, 56], and not [32, 48]" in refused(mixture, ONE, tmp_path, one=one)
    edit_tensors(mixture, lambda found: {**found, wide: found[narrow].clone()})
    gone = "model.layers.1.block_sparse_moe.experts.2.w3.weight"
    edit_tensors(mixture, lambda found: {name: tensor for name, tensor in found.items() if name != gone})
    assert f"it has no `{gone}`" in refused(mixture, ONE, tmp_path, one=one)
    edit_tensors(mixture, lambda found: {name: tensor for name, tensor in found.items() if "gate" not in name})
    assert "the model has no experts that could get another one" in refused(mixture, ONE, tmp_path, one=one)
