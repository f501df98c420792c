"""Mixtures of tuned models, as plain transformers runs them, against the models that their experts are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from brickctl.analysis.load import unmatched_keys
from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from tests.support.architectures import model_of
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.gates import gates
from tests.support.models import (
    VOCABULARY,
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

    from torch import Tensor

PARTS = ("gate_proj", "up_proj", "down_proj")
MIXTRAL = ("w1", "w3", "w2")
BASES: dict[str, tuple[str, str, tuple[str, str, str], dict[str, Any]]] = {
    "Llama": ("llama", "block_sparse_moe", MIXTRAL, {}),
    "Llama, tied": ("llama", "block_sparse_moe", MIXTRAL, {"tie_word_embeddings": True}),
    "Llama, a width that is filled up": ("llama", "block_sparse_moe", MIXTRAL, {"intermediate_size": 45}),
    "Mistral": ("mistral", "block_sparse_moe", MIXTRAL, {"sliding_window": 5}),
    "Qwen2": ("qwen2", "mlp", PARTS, {}),
    "Qwen3": ("qwen3", "mlp", PARTS, {"head_dim": 16}),
}


def moe(experts: str = '["one", "two"]', active: int = 2, gates: str = "uniform", more: str = "") -> str:
    return f'{{ op = "moe", experts = {experts}, active = {active}, gates = "{gates}"{more} }}'


def text(base: Path, apply: str, settings: str = "", **bricks: Path) -> str:
    return manifest(base, bricks, apply, settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, two fine-tunes of it, an adapter, and gates for all of them."""
    folder = tmp_path_factory.mktemp("moe")
    base = tiny_model(folder / "base")
    return {
        "base": base,
        "one": tuned(base, folder / "one"),
        "two": tuned(base, folder / "two", seed=2),
        "lora": adapter(base, folder / "lora"),
        "gates": gates(base, folder / "gates", ("lora", "two", "base", "one")),
    }


RUN = """
import json, sys
sys.modules["brickctl"] = None  # any import of it fails
import torch, transformers
said = {}
for name in sys.argv[1:]:
    load = transformers.AutoModelForCausalLM.from_pretrained
    model, report = load(name, output_loading_info=True, use_safetensors=True)
    tokens = torch.arange(1, 25).unsqueeze(0) * 7 % VOCABULARY
    with torch.no_grad():
        logits = model.eval()(tokens).logits[0].tolist()
    odd = [list(map(str, report[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")]
    said[name] = {"class": type(model).__name__, "odd": odd, "logits": logits}
print("ANSWER" + json.dumps(said))
"""
CLASSES = {"llama": "MixtralForCausalLM", "qwen2": "Qwen2MoeForCausalLM", "qwen3": "Qwen3MoeForCausalLM"}


def test_mixtures_load_where_there_is_no_brickctl(tmp_path: Path) -> None:
    """Each token goes to one of two experts that are far apart: to that of the formula."""
    wanted: dict[str, Tensor] = {}
    for name in CLASSES:
        base = tiny_model(tmp_path / f"{name}-base", name, **({"head_dim": 16} if name == "qwen3" else {}))
        one = tuned(base, tmp_path / f"{name}-one")
        edit_tensors(one, lambda found: {key: each * (3 if "down" in key else 1) for key, each in found.items()})
        rows = gates(base, tmp_path / f"{name}-gates", ("one", "base"))
        build(text(base, moe('["one", "base"]', 1, "gates"), one=one, gates=rows), tmp_path / name)
        routers = [load_file(rows / "model.safetensors")[f"model.layers.{layer}.mlp.weight"] for layer in range(3)]
        wanted[name] = expected(load(base), [load(one), load(base)], routers, 1)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", RUN.replace("VOCABULARY", str(VOCABULARY)), *CLASSES]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.split("ANSWER")[1])
    assert {name: one["class"] for name, one in said.items()} == CLASSES
    assert not any(any(one["odd"]) for one in said.values())
    assert all(distance(torch.tensor(one["logits"]), wanted[name].squeeze(0)) <= 1e-5 for name, one in said.items())


@pytest.mark.parametrize(("active", "which"), [(1, "gates"), (2, "gates"), (2, "random"), (2, "uniform"), (3, "gates")])
@pytest.mark.parametrize("name", BASES)
def test_equal_experts_say_what_the_dense_model_says(name: str, active: int, which: str, tmp_path: Path) -> None:
    architecture, _, _, settings = BASES[name]
    base = tiny_model(tmp_path / "base", architecture, **settings)
    copies = {alias: shutil.copytree(base, tmp_path / alias) for alias in ("one", "two")}
    step = moe('["one", "base", "two"]', active, which)
    rows = gates(base, tmp_path / "gates", ("one", "two", "base"))
    out = build(text(base, step, gates=rows, **copies), tmp_path / "out")
    assert unmatched_keys(out) == ()
    assert distance(logits(load(out)), logits(load(base))) <= 1e-5


@pytest.mark.parametrize("name", BASES)
def test_experts_are_the_ffns_of_the_bricks_in_their_order_and_all_else_is_the_base(name: str, tmp_path: Path) -> None:
    architecture, block, parts, settings = BASES[name]
    base = tiny_model(tmp_path / "base", architecture, **settings)
    one, two = tuned(base, tmp_path / "one"), tuned(base, tmp_path / "two", seed=2)
    found = weights(build(text(base, moe('["two", "one"]'), one=one, two=two), tmp_path / "out"))
    before = weights(base)
    for number, brick in enumerate(map(weights, (two, one))):
        for layer in range(3):
            for ours, theirs in zip(parts, PARTS, strict=True):
                expert = found[f"model.layers.{layer}.{block}.experts.{number}.{ours}.weight"]
                wanted = brick[f"model.layers.{layer}.mlp.{theirs}.weight"]
                assert torch.equal(expert[: wanted.shape[0], : wanted.shape[1]], wanted)
                assert expert.count_nonzero() == wanted.count_nonzero()
    outside = [name for name in before if ".mlp." not in name]
    assert all(torch.equal(found[name], before[name]) for name in outside)


def test_rows_of_a_router_stand_in_the_order_of_the_experts(made: dict[str, Path], tmp_path: Path) -> None:
    """The gates have them as lora, two, base, one."""
    step = moe('["one", "lora", "two"]', 2, "gates")
    bricks = {name: made[name] for name in ("one", "two", "lora", "gates")}
    prepared = prepare(text(made["base"], step, **bricks), tmp_path)
    assert prepared.artifact.root.config["num_local_experts"] == 3
    found = weights(build(text(made["base"], step, **bricks), tmp_path / "out"))
    rows = load_file(made["gates"] / "model.safetensors")
    for layer in range(3):
        router = found[f"model.layers.{layer}.block_sparse_moe.gate.weight"]
        assert torch.equal(router, rows[f"model.layers.{layer}.mlp.weight"][[3, 0, 1]])


def expected(model: Any, experts: list[Any], rows: list[Tensor], active: int) -> Tensor:
    """What a dense model says whose FFNs are mixtures, by the formula: sum over the top k of softmax(l)_e FFN_e(x)."""
    for layer, router in zip(model.model.layers, rows, strict=True):
        number = int(layer.self_attn.layer_idx)
        ffns = [expert.model.layers[number].mlp for expert in experts]
        layer.mlp.forward = _mixed(ffns, router, active)
    return logits(model)


def _mixed(ffns: list[Any], router: Tensor, active: int) -> Any:
    forwards = [ffn.forward for ffn in ffns]

    def forward(hidden: Tensor) -> Tensor:
        scores = hidden @ router.T
        best = scores.topk(active, dim=-1)
        shares = torch.zeros_like(scores).scatter(-1, best.indices, best.values.softmax(dim=-1))
        return sum(shares[..., [number]] * one(hidden) for number, one in enumerate(forwards))  # type: ignore[return-value]

    return forward


@pytest.mark.parametrize("active", [1, 2])
def test_tokens_go_where_their_gates_send_them(active: int, made: dict[str, Path], tmp_path: Path) -> None:
    """Against the formula, with experts that are far apart and an adapter merged by PEFT."""
    base = made["base"]
    apart = {name: tuned(base, tmp_path / name, seed=seed) for seed, name in enumerate(("one", "two"), start=3)}
    for folder in apart.values():
        edit_tensors(folder, lambda found: {name: one * (3 if "down" in name else 1) for name, one in found.items()})
    rows = gates(base, tmp_path / "gates", ("one", "two", "lora"))
    step = moe('["one", "two", "lora"]', active, "gates")
    out = build(text(base, step, lora=made["lora"], gates=rows, **apart), tmp_path / "out")
    folded = load(base)
    folded.load_state_dict(merged_by_peft(base, made["lora"]))
    experts = [load(apart["one"]), load(apart["two"]), folded]
    routers = [load_file(rows / "model.safetensors")[f"model.layers.{layer}.mlp.weight"] for layer in range(3)]
    wanted = expected(load(base), experts, routers, active)
    assert distance(wanted, logits(load(base))) > 0.01
    assert distance(logits(load(out)), wanted) <= 1e-5


def test_an_adapter_is_folded_in(made: dict[str, Path], tmp_path: Path) -> None:
    found = weights(build(text(made["base"], moe('["base", "lora"]'), lora=made["lora"]), tmp_path / "out"))
    merged = merged_by_peft(made["base"], made["lora"])
    for ours, theirs in zip(MIXTRAL, PARTS, strict=True):
        expert = found[f"model.layers.1.block_sparse_moe.experts.1.{ours}.weight"]
        assert distance(expert, merged[f"model.layers.1.mlp.{theirs}.weight"]) < 1e-6


def test_everything_else_is_the_running_model(made: dict[str, Path], tmp_path: Path) -> None:
    """A merge before the mixture counts outside of FFNs only."""
    steps = ", ".join((sum_of(two=1.0), moe('["base", "one"]')))
    found = weights(build(text(made["base"], steps, one=made["one"], two=made["two"]), tmp_path / "out"))
    two, base = weights(made["two"]), weights(made["base"])
    query, expert = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.block_sparse_moe.experts.0.w1.weight"
    assert torch.equal(found[query], two[query])
    assert torch.equal(found[expert], base["model.layers.0.mlp.gate_proj.weight"])


def test_a_random_router_goes_by_its_seed_and_a_uniform_one_is_zeros(made: dict[str, Path], tmp_path: Path) -> None:
    bricks = {name: made[name] for name in ("one", "two")}
    router = "model.layers.0.block_sparse_moe.gate.weight"
    said = [moe(gates="random"), moe(gates="random", more=", seed = 0"), moe(gates="random", more=", seed = 1"), moe()]
    first, same, other, zeros = (
        weights(build(text(made["base"], one, **bricks), tmp_path / "out"))[router] for one in said
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert 0.01 < float(first.std()) < 0.03
    assert not zeros.any()


def test_bricks_of_other_types_are_rounded_once_to_that_of_the_base(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", dtype="bfloat16")
    one, lora = tuned(base, tmp_path / "one"), adapter(base, tmp_path / "lora")
    edit_tensors(one, lambda found: {name: tensor.float() * 1.001 for name, tensor in found.items()})
    wanted = weights(one)["model.layers.0.mlp.down_proj.weight"]
    rows = gates(base, tmp_path / "gates", ("one", "lora"))
    expert, router = (f"model.layers.0.block_sparse_moe.{part}.weight" for part in ("experts.0.w2", "gate"))
    step = moe('["one", "lora"]', gates="gates")
    found = weights(build(text(base, step, one=one, lora=lora, gates=rows), tmp_path / "out"))
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    assert torch.equal(found[expert], wanted.bfloat16())
    wide = weights(build(text(base, step, 'dtype = "float32"', one=one, lora=lora, gates=rows), tmp_path / "wide"))
    assert torch.equal(wide[expert], wanted)
    assert torch.equal(wide[router], load_file(rows / "model.safetensors")["model.layers.0.mlp.weight"])


def test_it_tells_how_large_the_model_becomes_and_what_is_left_out(made: dict[str, Path], tmp_path: Path) -> None:
    """Outside of FFNs a model of 3 layers has 3 x 6 tensors and 3 more, of which the adapter changes 3 x 4."""
    step = moe('["one", "lora", "base"]', gates="random")
    notes = prepare(text(made["base"], step, one=made["one"], lora=made["lora"]), tmp_path).artifact.notes
    dense = sum(tensor.numel() for tensor in weights(made["base"]).values())
    mixed = dense + 3 * (2 * 4608 + 3 * 32)
    assert notes == (
        f"3 experts for each FFN, 2 of them active: {mixed:,} parameters instead of {dense:,}",
        "outside of FFNs the model stays as it is: 21 tensors that `one` may change there are not taken",
        "outside of FFNs the model stays as it is: 12 tensors that `lora` changes there are not taken",
        "a random router knows nothing of the experts: until it is trained, chance chooses among them",
    )


def test_a_router_of_zeros_is_told_of_where_it_leaves_experts_out(made: dict[str, Path], tmp_path: Path) -> None:
    said = "a router of zeros chooses the same expert for all tokens, until it is trained"
    for active, told in ((1, True), (2, False)):
        notes = prepare(text(made["base"], moe('["base", "one"]', active), one=made["one"]), tmp_path).artifact.notes
        assert (said in notes) is told


def test_experts_that_say_the_same_are_told_of(made: dict[str, Path], tmp_path: Path) -> None:
    again = shutil.copytree(made["one"], tmp_path / "again")
    step = moe('["one", "two", "again"]', 3)
    notes = prepare(text(made["base"], step, one=made["one"], two=made["two"], again=again), tmp_path).artifact.notes
    said = [note for note in notes if "the very FFNs" in note]
    assert said == ["`again` has the very FFNs of `one`: both say the same until they are trained apart"]


def test_an_adapter_of_ffns_alone_loses_nothing(made: dict[str, Path], tmp_path: Path) -> None:
    lora = adapter(made["base"], tmp_path / "lora", target_modules=["up_proj", "down_proj"])
    notes = prepare(text(made["base"], moe('["base", "lora"]'), lora=lora), tmp_path).artifact.notes
    assert not any("not taken" in note for note in notes)


def test_an_adapter_without_ffns_is_no_expert(made: dict[str, Path], tmp_path: Path) -> None:
    lora = adapter(made["base"], tmp_path / "attention", target_modules=["q_proj", "v_proj"])
    said = refused(made, moe('["one", "attention"]'), tmp_path, attention=lora)
    assert "`attention` cannot become an expert of the model" in said
    assert "it changes no FFN of the base, so its expert would be that of the base" in said


def test_the_bytes_are_the_same_however_it_is_built(made: dict[str, Path], tmp_path: Path) -> None:
    step = text(made["base"], moe('["one", "lora"]', 1, "gates"), **{n: made[n] for n in ("one", "lora", "gates")})
    wanted = digest(step, tmp_path / "out")
    for budget in ({"threads": 1}, {"threads": 4}, {"memory": 4 << 20}):
        assert digest(step, tmp_path / "out", **budget) == wanted


def refused(made: dict[str, Path], apply: str, scratch: Path, **bricks: Path) -> str:
    known = {name: folder for name, folder in made.items() if name != "base"} | bricks
    with pytest.raises((ManifestInvalid, Misfit, Unsupported)) as caught:
        prepare(text(made["base"], apply, **known), scratch)
    return str(caught.value)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ('{ op = "moe", active = 1, gates = "random" }', "a moe needs `experts`"),
        (moe('["one"]', 1), "a moe needs `experts`: 2 to 1024 bricks"),
        (moe('["one", "one"]'), "`experts` names each brick once"),
        (moe('["one", "tow"]'), "uses `tow`, which is no brick here"),
        (moe(active=3), "`active` must be from 1 to the number of experts"),
        (moe(active=0), "`active` must be from 1 to the number of experts"),
        ('{ op = "moe", experts = ["one", "two"], gates = "random" }', "a moe needs `active`"),
        ('{ op = "moe", experts = ["one", "two"], active = 1 }', "a moe needs `gates`"),
        (moe(gates="cheap-embed"), "gates by `cheap-embed` are derived from prompts"),
        (moe(gates="No Brick"), "`No Brick` is no name of a brick"),
        (moe(gates="gate"), "uses `gate`, which is no brick here"),
        (moe(gates="one"), "`one` is of kind expert, and holds no gates"),
        (moe(more=", seed = 1"), "`seed` is for random gates"),
        (moe(more=", layers = 1"), "unknown key `layers`"),
        (moe('["one", "gates"]'), "`gates` holds gates, which cannot be merged"),
        (f"{moe()}, {moe()}", "does not fit the model as it is by now"),
        (f'{{ op = "grow-depth", layers = 4 }}, {moe()}', "`one` does not fit a model with other layers"),
        (f'{{ op = "stack", bricks = ["lora"] }}, {moe()}', "a mix cannot follow a stack"),
    ],
)
def test_a_step_that_means_nothing_is_refused(step: str, message: str, made: dict[str, Path], tmp_path: Path) -> None:
    assert message in refused(made, step, tmp_path)


def test_gates_without_a_row_for_an_expert_are_refused(made: dict[str, Path], tmp_path: Path) -> None:
    few = gates(made["base"], tmp_path / "few", ("one", "lora"))
    said = refused(made, moe(gates="few"), tmp_path, few=few)
    assert "`few` has no row for `two`" in said
    assert "it was derived from prompts for one, lora" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_act": "gelu"}, "`hidden_act` in its config.json is gelu; the running model has silu"),
        ({"mlp_bias": True}, "it has `model.layers.0.mlp.down_proj.bias`, for which experts have no place"),
        ({"intermediate_size": 64}, "`model.layers.0.mlp` has 64 neurons of 32 numbers; that of the running model has"),
        ({"num_hidden_layers": 2}, "it has no FFN `model.layers.2.mlp`"),
    ],
)
def test_a_brick_of_another_make_is_refused(
    settings: dict[str, Any], message: str, made: dict[str, Path], tmp_path: Path
) -> None:
    other = tiny_model(tmp_path / "other", **settings)
    assert message in refused(made, moe('["one", "other"]'), tmp_path, other=other)


def test_a_brick_that_is_no_dense_model_is_refused(made: dict[str, Path], tmp_path: Path) -> None:
    mixture = build(text(made["base"], moe('["base", "one"]'), one=made["one"]), tmp_path / "mixture")
    assert "is a mixture of experts already" in refused(made, moe('["one", "other"]'), tmp_path, other=mixture)
    groups = partition(made["base"], tmp_path / "groups", groups=4)
    assert "cannot be merged" in refused(made, moe('["one", "other"]'), tmp_path, other=groups)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [("gemma2", "its model type is `gemma2`"), ("mixtral", "the model is a mixture of experts already")],
)
def test_a_base_that_no_stock_mixture_can_speak_for_is_refused(
    architecture: str, message: str, made: dict[str, Path], tmp_path: Path
) -> None:
    base = model_of(architecture, tmp_path / "base")
    copies = {alias: shutil.copytree(base, tmp_path / alias) for alias in ("one", "two")}
    assert message in refused({**made, "base": base}, moe(), tmp_path, **copies)


def test_gates_that_are_no_numbers_do_not_become_a_model(made: dict[str, Path], tmp_path: Path) -> None:
    bad = gates(made["base"], tmp_path / "bad", ("one", "two"))
    name = "model.layers.1.mlp.weight"
    edit_tensors(bad, lambda found: {**found, name: found[name] * float("nan")})
    with pytest.raises(Misfit, match=r"`model\.layers\.1\.block_sparse_moe\.gate\.weight` would hold NaN or infinity"):
        build(text(made["base"], moe(gates="bad"), one=made["one"], two=made["two"], bad=bad), tmp_path / "out")


def test_config_json_says_that_weights_add_up_to_1(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen3", head_dim=16)
    one = tuned(base, tmp_path / "one")
    edit_config(base, "config.json", norm_topk_prob=False)
    out = build(text(base, moe('["base", "one"]', 1), one=one), tmp_path / "out")
    config = json.loads((out / "config.json").read_text())
    assert {key: config[key] for key in ("model_type", "norm_topk_prob", "num_experts", "num_experts_per_tok")} == {
        "model_type": "qwen3_moe", "norm_topk_prob": True, "num_experts": 2, "num_experts_per_tok": 1,
    }  # fmt: skip
