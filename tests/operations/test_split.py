"""Stock mixtures of experts against the dense models that they were split from, as plain transformers runs both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoConfig

from brickctl.analysis.load import unmatched_keys
from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.models import adapter, edit_config, edit_tensors, load, logits, tiny_model, tuned, weights
from tests.support.neurons import distance, gate, partition, permute

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

GROUPS = 4
WINDOW: dict[str, Any] = {"sliding_window": 5}
BASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "Llama": ("llama", 0, {}),
    "Llama, tied": ("llama", 0, {"tie_word_embeddings": True}),
    "Llama, shared neurons": ("llama", 16, {}),
    "Mistral, windows": ("mistral", 0, WINDOW),
    "Mistral, windows, shared neurons": ("mistral", 16, WINDOW),
    "Mistral without windows, shared neurons": ("mistral", 16, {"sliding_window": None}),
    "Qwen2": ("qwen2", 0, {}),
    "Qwen2, shared neurons": ("qwen2", 16, {}),
    "Qwen2, windows in some layers": ("qwen2", 16, {"use_sliding_window": True, "max_window_layers": 1, **WINDOW}),
    "Qwen3": ("qwen3", 0, {"head_dim": 16}),
    "Llama, wide heads, another activation": ("llama", 0, {"head_dim": 16, "hidden_act": "gelu"}),
}
MIXTURES = {"llama": "mixtral", "mistral": "mixtral", "qwen2": "qwen2_moe", "qwen3": "qwen3_moe"}


def split(active: int = GROUPS, brick: str = "g") -> str:
    return f'{{ op = "split", brick = "{brick}", active = {active} }}'


def text(base: Path, brick: Path, apply: str | None = None, settings: str = "", **more: Path) -> str:
    return manifest(base, {"g": brick, **more}, apply or split(), settings)


def config_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def permuted(base: Path, seed: int) -> Tensor:
    """What the dense model says with the neurons of every FFN in another order: nothing but rounding differs."""
    model = load(base)
    permute(model, seed)
    return logits(model)


@pytest.mark.parametrize("name", BASES)
def test_with_all_experts_active_it_says_what_the_dense_model_says(name: str, tmp_path: Path) -> None:
    """fp32: at most twice as far off as the dense model is from itself with its neurons in another order."""
    base, out = split_of(name, tmp_path, "float32")
    assert unmatched_keys(out) == ()
    dense = logits(load(base))
    floor = max(distance(permuted(base, seed), dense) for seed in range(3))
    assert distance(logits(load(out)), dense) <= 2 * floor < 1e-6


@pytest.mark.parametrize("name", BASES)
def test_in_16_bits_it_rounds_at_most_twice_as_much_as_the_dense_model(name: str, tmp_path: Path) -> None:
    """What every expert puts out is rounded. (So few neurons add up to the same bits in any order: no floor.)"""
    base, out = split_of(name, tmp_path, "bfloat16")
    exact = logits(load(base))
    assert distance(logits(load(out, "bfloat16")), exact) <= 2 * distance(logits(load(base, "bfloat16")), exact)


def split_of(name: str, folder: Path, dtype: str) -> tuple[Path, Path]:
    """A dense model, and its split with all experts active."""
    architecture, shared, settings = BASES[name]
    base = tiny_model(folder / "base", architecture, dtype=dtype, **settings)
    brick = partition(base, folder / "g", groups=GROUPS, shared=shared)
    out = build(text(base, brick), folder / "out")
    assert config_of(out)["model_type"] == ("qwen2_moe" if shared else MIXTURES[architecture])
    return base, out


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("split") / "base")


@pytest.fixture(scope="module")
def routed(llama: Path) -> Path:
    return partition(llama, llama.with_name("routed"), groups=GROUPS, router="linear")


def test_experts_are_rows_and_columns_of_the_dense_model(llama: Path, routed: Path, tmp_path: Path) -> None:
    found, dense, brick = (weights(folder) for folder in (build(text(llama, routed), tmp_path), llama, routed))
    for layer in range(3):
        ffn, block = f"model.layers.{layer}.mlp", f"model.layers.{layer}.block_sparse_moe"
        groups = brick[f"{ffn}.order"].long().reshape(GROUPS, -1)
        for expert, neurons in enumerate(groups):
            names = [f"{block}.experts.{expert}.{part}.weight" for part in ("w1", "w2", "w3")]
            w1, w2, w3 = (found.pop(name) for name in names)
            assert torch.equal(w1, torch.cat([dense[f"{ffn}.gate_proj.weight"][neurons], torch.zeros(4, 32)]))
            assert torch.equal(w3, torch.cat([dense[f"{ffn}.up_proj.weight"][neurons], torch.zeros(4, 32)]))
            assert torch.equal(w2[:, :12], 4 * dense[f"{ffn}.down_proj.weight"][:, neurons])
            assert not w2[:, 12:].any()
        assert torch.equal(found.pop(f"{block}.gate.weight"), torch.zeros(GROUPS, 32))
    assert all(torch.equal(tensor, dense[name]) for name, tensor in found.items())
    assert len(found) == len(dense) - 9


def test_experts_of_any_width_are_filled_up_so_that_transformers_can_multiply_them(
    llama: Path, routed: Path, tmp_path: Path
) -> None:
    """12 neurons in 16 bits are 24 bytes; a grouped product needs a multiple of 16."""
    artifact = prepare(text(llama, routed), tmp_path).artifact
    assert "experts of 12 neurons are filled up with zeros to 16: transformers needs multiples of 8" in artifact.notes
    assert artifact.root.config["intermediate_size"] == 16
    even = partition(llama, tmp_path / "even", groups=3)
    assert prepare(text(llama, even, split(3)), tmp_path).artifact.root.config["intermediate_size"] == 16
    assert not any("filled" in note for note in prepare(text(llama, even, split(3)), tmp_path).artifact.notes)


def hard_gated(base: Path, brick: Path, active: int) -> Tensor:
    """What the dense model says if only the neurons of the chosen groups, with weight 1, and shared ones are on."""
    model = load(base)
    gate(model, brick, active)
    return logits(model)


@pytest.mark.parametrize("active", [1, 2, 3])
@pytest.mark.parametrize("name", ["Llama", "Llama, shared neurons", "Qwen2", "Qwen3", "Mistral, windows"])
def test_with_some_experts_active_each_of_them_counts_as_much(name: str, active: int, tmp_path: Path) -> None:
    architecture, shared, settings = BASES[name]
    base = tiny_model(tmp_path / "base", architecture, **settings)
    brick = partition(base, tmp_path / "g", groups=GROUPS, shared=shared, router="linear")
    out = build(text(base, brick, split(active)), tmp_path / "out")
    wanted = hard_gated(base, brick, active)
    assert distance(wanted, logits(load(base))) > 0.05
    assert distance(logits(load(out)), wanted) < 1e-3


def louder(brick: Path, folder: Path, factor: float, gap: float = 0.01) -> Path:
    """The brick with logits that are so many times as large, and says so."""
    measured = torch.tensor([factor, factor * gap], dtype=torch.float64)
    found = {
        name: measured.clone() if name.endswith(".logits") else tensor * factor if ".router." in name else tensor
        for name, tensor in weights(brick).items()
    }
    folder.mkdir()
    (folder / "neurons_config.json").write_bytes((brick / "neurons_config.json").read_bytes())
    (folder / "model.safetensors").write_bytes((brick / "model.safetensors").read_bytes())
    return edit_tensors(folder, lambda _: found)


@pytest.mark.parametrize("spread", [0.01, 1.0, 100.0])
def test_logits_of_any_spread_are_scaled_until_all_weigh_the_same(
    spread: float, llama: Path, routed: Path, tmp_path: Path
) -> None:
    """At a spread of 100 a scale of 2^-10, which serves a spread of 1, would be 5 % off."""
    brick = louder(routed, tmp_path / "g", spread)
    out = build(text(llama, brick, split(2)), tmp_path / "out")
    gates = weights(out)["model.layers.0.block_sparse_moe.gate.weight"]
    ratio = gates / weights(brick)["model.layers.0.mlp.router.weight"]
    expected = {0.01: 2.0**-4, 1.0: 2.0**-10, 100.0: 2.0**-17}[spread]
    assert torch.equal(ratio, torch.full_like(ratio, expected))
    assert distance(logits(load(out)), hard_gated(llama, brick, 2)) < 1e-3


def notes_of(base: Path, brick: Path, scratch: Path, active: int) -> str:
    return "\n".join(prepare(text(base, brick, split(active)), scratch).artifact.notes)


def test_layers_whose_router_no_scale_fits_are_named(llama: Path, routed: Path, tmp_path: Path) -> None:
    brick = louder(routed, tmp_path / "g", 1.0)
    close = torch.tensor([1.0, 1e-4], dtype=torch.float64)
    edit_tensors(brick, lambda found: {**found, "model.layers.1.mlp.logits": close})
    assert "no scale fits the router of `model.layers.1.mlp`: " in notes_of(llama, brick, tmp_path, 2)
    assert "no scale fits" not in notes_of(llama, routed, tmp_path, 2)
    assert "no scale fits" not in notes_of(llama, brick, tmp_path, GROUPS)


def test_logits_that_were_not_measured_are_told(llama: Path, routed: Path, tmp_path: Path) -> None:
    brick = louder(routed, tmp_path / "g", 1.0)
    edit_tensors(brick, lambda found: {name: one for name, one in found.items() if name != "model.layers.2.mlp.logits"})
    assert "the logits of `model.layers.2.mlp` were not measured" in notes_of(llama, brick, tmp_path, 2)


def test_a_number_of_experts_that_is_no_power_of_two_is_told(llama: Path, routed: Path, tmp_path: Path) -> None:
    assert "3 is no power of two: what experts put out times 3 is rounded" in notes_of(llama, routed, tmp_path, 3)
    assert "no power of two" not in notes_of(llama, routed, tmp_path, 2)


def test_that_float16_may_be_too_small_for_experts_is_told(tmp_path: Path) -> None:
    told = []
    for dtype, active in (("float16", 2), ("float16", 1), ("bfloat16", 2)):
        base = tiny_model(tmp_path / dtype, dtype=dtype)
        brick = partition(base, tmp_path / "g", groups=GROUPS, router="linear")
        told.append("too large for float16" in notes_of(base, brick, tmp_path, active))
    assert told == [True, False, False]


def test_the_head_stays_tied(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    brick = partition(base, tmp_path / "g", groups=GROUPS)
    out = build(text(base, brick), tmp_path / "out")
    assert "lm_head.weight" not in weights(out)
    assert config_of(out)["tie_word_embeddings"] is True


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_merged_model_can_be_split_in_the_same_target(dtype: str, tmp_path: Path) -> None:
    """One rounding at the end: times 4 is exact, so the bits are those of a split of what the merge writes."""
    base = tiny_model(tmp_path / "base", dtype=dtype)
    one = tuned(base, tmp_path / "one")
    brick = partition(base, tmp_path / "g", groups=GROUPS, router="linear")
    both = build(text(base, brick, f"{sum_of(one=0.5)}, {split(4)}", one=one), tmp_path / "both")
    more = f'[targets.s]\nfrom = {{ target = "t" }}\napply = [{split(4)}]'
    after = build(manifest(base, {"g": brick, "one": one}, sum_of(one=0.5), "", more), tmp_path / "after", "s")
    found, wanted = weights(both), weights(after)
    assert found.keys() == wanted.keys()
    assert all(found[name].dtype == getattr(torch, dtype) for name in found)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_target_may_ask_for_another_type(dtype: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", dtype="bfloat16")
    brick = partition(base, tmp_path / "g", groups=GROUPS, router="linear")
    out = build(text(base, brick, split(2), f'dtype = "{dtype}"'), tmp_path / "out")
    assert {tensor.dtype for tensor in weights(out).values()} == {getattr(torch, dtype)}
    assert config_of(out)["dtype"] == dtype


def test_the_bytes_are_the_same_however_it_is_built(llama: Path, routed: Path, tmp_path: Path) -> None:
    wanted = digest(text(llama, routed, split(2)), tmp_path / "out")
    for budget in ({"threads": 1}, {"threads": 4}, {"memory": 4 << 20}):
        assert digest(text(llama, routed, split(2)), tmp_path / "out", **budget) == wanted


def test_a_mixture_is_cut_into_shards_as_models_are(llama: Path, routed: Path, tmp_path: Path) -> None:
    out = build(text(llama, routed, split(), 'shard-size = "40KB"'), tmp_path / "out")
    index = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) > 3
    assert unmatched_keys(out) == ()


KEYS_OF_SIZES = ("model_type", "architectures", "hidden_size", "intermediate_size", "num_hidden_layers",
                 "num_attention_heads", "vocab_size")  # fmt: skip
KEYS_THAT_DIFFER = {"model_type", "architectures", "intermediate_size", "transformers_version", "layer_types",
                    "sliding_window", "max_window_layers", "initializer_range"}  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "shared"),
    [(name, shared) for name in MIXTURES for shared in (0, 16) if (name, shared) != ("qwen3", 16)],
)
def test_what_config_json_leaves_unsaid_means_the_same_afterwards(
    architecture: str, shared: int, tmp_path: Path
) -> None:
    """Defaults differ: eps is 1e-6 in one type and 1e-5 in the next, theta 10,000 and 1,000,000."""
    base = tiny_model(tmp_path / "base", architecture)
    brick = partition(base, tmp_path / "g", groups=GROUPS, shared=shared)
    short = {key: value for key, value in config_of(base).items() if key in KEYS_OF_SIZES}
    (base / "config.json").write_text(json.dumps(short))
    written = dict(prepare(text(base, brick), tmp_path).artifact.root.config)
    dense, mixture = (AutoConfig.for_model(**config).to_dict() for config in (short, written))
    same = (dense.keys() & mixture.keys()) - KEYS_THAT_DIFFER
    assert {"rope_parameters", "rms_norm_eps", "num_key_value_heads", "max_position_embeddings"} <= same
    assert {key: mixture[key] for key in same} == {key: dense[key] for key in same}
    assert bool(mixture.get("use_sliding_window", mixture["sliding_window"])) == (architecture == "mistral")


@pytest.mark.parametrize(
    ("architecture", "settings", "cause"),
    [
        ("llama", {"attention_bias": True}, "`attention_bias = true`, which MixtralForCausalLM cannot do"),
        ("llama", {"mlp_bias": True}, "`mlp_bias = true`, which MixtralForCausalLM cannot do"),
        ("qwen3", {"use_sliding_window": True, "max_window_layers": 0, **WINDOW}, "cannot do"),
    ],
)
def test_what_a_mixture_cannot_say_is_refused_by_name(
    architecture: str, settings: dict[str, Any], cause: str, tmp_path: Path
) -> None:
    base = tiny_model(tmp_path / "base", architecture, **settings)
    brick = partition(base, tmp_path / "g", groups=GROUPS)
    with pytest.raises(Unsupported, match="no stock mixture of experts fits") as caught:
        prepare(text(base, brick), tmp_path)
    assert cause in str(caught.value)


def refused(base: Path, brick: Path, apply: str, scratch: Path, **more: Path) -> str:
    with pytest.raises((ManifestInvalid, Misfit, Unsupported)) as caught:
        prepare(text(base, brick, apply, **more), scratch)
    return str(caught.value)


def test_a_model_type_without_a_mixture_is_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    brick = partition(base, tmp_path / "g", groups=GROUPS)
    edit_config(base, "config.json", model_type="gemma2")
    assert "its model type is `gemma2`" in refused(base, brick, split(), tmp_path)
    edit_config(base, "config.json", model_type=["llama"])
    assert "its model type is `a list`" in refused(base, brick, split(), tmp_path)


def test_tensors_that_the_mixture_would_not_load_are_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    edit_tensors(base, lambda found: {**found, "model.layers.0.self_attn.q_norm.weight": torch.ones(8)})
    brick = partition(base, tmp_path / "g", groups=GROUPS)
    cause = "it has `model.layers.0.self_attn.q_norm.weight`, for which MixtralForCausalLM has no place"
    assert cause in refused(base, brick, split(), tmp_path)


def test_what_old_files_hold_of_what_the_model_computes_is_left_out(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    edit_tensors(base, lambda found: {**found, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    brick = partition(base, tmp_path / "g", groups=GROUPS)
    assert unmatched_keys(build(text(base, brick), tmp_path / "out")) == ()


def test_shared_neurons_of_qwen3_have_no_mixture(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen3")
    brick = partition(base, tmp_path / "g", groups=GROUPS, shared=16)
    assert "derive a brick without shared neurons" in refused(base, brick, split(), tmp_path)


def test_a_mixture_is_not_split_again(llama: Path, routed: Path, tmp_path: Path) -> None:
    again = f"{split()}, {split()}"
    assert "a step before has given them other neurons" in refused(llama, routed, again, tmp_path)
    mixture = build(text(llama, routed), tmp_path / "out")
    assert "the model is a mixture of experts already" in refused(mixture, routed, split(), tmp_path)


def routers(llama: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    yield partition(llama, folder / "none", groups=GROUPS), "it has no router"
    yield partition(llama, folder / "mlp", groups=GROUPS, router="mlp"), "it has a router of the kind `mlp`"


def test_a_choice_needs_a_router_that_a_mixture_can_hold(llama: Path, tmp_path: Path) -> None:
    for brick, cause in routers(llama, tmp_path):
        said = refused(llama, brick, split(2), tmp_path)
        assert "has nothing that can choose 2 of 4 groups" in said
        assert cause in said
        assert prepare(text(llama, brick, split(GROUPS)), tmp_path).plan.tasks
    similar = partition(llama, tmp_path / "similar", groups=GROUPS, router="similarity")
    assert prepare(text(llama, similar, split(2)), tmp_path).plan.tasks


ONTO = '{ op = "merge", method = "task_arithmetic", bricks = { one = 1.0 } }'
TURNED = '{ op = "stitch", slices = [{ brick = "base", layers = [1, 3] }, { brick = "base", layers = [0, 1] }] }'


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (f"{split()}, {ONTO}", "`one` does not fit the model as it is by now"),
        (f"{TURNED}, {split()}", "`g` does not fit a model with other layers"),
        (split(5), "`g` does not have 5 groups"),
        (split(0), "`active` must be at least 1"),
        ('{ op = "split", brick = "g" }', "`active` in [targets.t] apply[0] is missing"),
        ('{ op = "split", active = 2 }', "a split needs `brick`"),
        (split(brick="base"), "`brick` may not be the base"),
        (split(brick="one"), "`one` is of kind expert, and no partition of neurons"),
        ('{ op = "merge", method = "linear", bricks = { g = 1.0 } }', "which cannot be merged"),
        ('{ op = "stack", bricks = ["g"] }', "only adapters and prompts can be stacked; `g` is of kind neurons"),
    ],
)
def test_a_split_where_it_means_nothing_is_refused(
    steps: str, message: str, llama: Path, routed: Path, tmp_path: Path
) -> None:
    one = tuned(llama, tmp_path / "one")
    assert message in refused(llama, routed, steps, tmp_path, one=one)


@pytest.mark.parametrize("step", [split(), '{ op = "prune", brick = "g", groups = [0] }'], ids=["split", "prune"])
def test_a_model_below_stacked_adapters_is_not_changed(step: str, llama: Path, routed: Path, tmp_path: Path) -> None:
    lora = adapter(llama, tmp_path / "lora")
    before = f'{{ op = "stack", bricks = ["lora"] }}, {step}'
    assert "cannot follow a stack" in refused(llama, routed, before, tmp_path, lora=lora)
    behind = f'{step}, {{ op = "stack", bricks = ["lora"] }}'
    assert "`lora` does not fit the model as it is by now" in refused(llama, routed, behind, tmp_path, lora=lora)


def test_layers_of_a_mixture_can_still_be_stitched(llama: Path, routed: Path, tmp_path: Path) -> None:
    out = build(text(llama, routed, f"{split()}, {TURNED}"), tmp_path / "out")
    assert unmatched_keys(out) == ()
    turned = build(text(llama, routed, TURNED), tmp_path / "turned")
    assert distance(logits(load(out)), logits(load(turned))) < 1e-6
