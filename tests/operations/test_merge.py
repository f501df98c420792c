"""Merges of several bricks against plain computations: sums, means, steps, weights over depth and by filter."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.errors import ManifestInvalid
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.models import (
    LINEAR,
    adapter,
    edit_tensors,
    load,
    load_with_adapter,
    logits,
    merged_by_peft,
    tiny_model,
    tuned,
    weights,
    worst_ratio,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merge")


@pytest.fixture(scope="module")
def base(scratch: Path) -> Path:
    return tiny_model(scratch / "base")


@pytest.fixture(scope="module")
def bricks(scratch: Path, base: Path) -> dict[str, Path]:
    """One brick of every form: plain, rsLoRA, DoRA with a saved head, patterns and embeddings, and a full expert."""
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 12}}
    return {
        "lora": adapter(base, scratch / "lora", seed=10),
        "rslora": adapter(base, scratch / "rslora", seed=11, use_rslora=True),
        "dora": adapter(base, scratch / "dora", seed=12, use_dora=True, modules_to_save=["lm_head"]),
        "mixed": adapter(base, scratch / "mixed", seed=13, target_modules=[*LINEAR, "embed_tokens"], **patterns),
        "expert": tuned(base, scratch / "expert", seed=14),
    }


def tuned_weights(base: Path, brick: Path) -> dict[str, Tensor]:
    """The whole model that a brick stands for, by PEFT where it is an adapter, in fp64."""
    found = merged_by_peft(base, brick) if (brick / "adapter_config.json").exists() else weights(brick)
    return {name: tensor.double() for name, tensor in found.items()}


@pytest.fixture(scope="module")
def models(base: Path, bricks: Mapping[str, Path]) -> dict[str, dict[str, Tensor]]:
    found = {alias: tuned_weights(base, brick) for alias, brick in bricks.items()}
    return {**found, "base": {name: tensor.double() for name, tensor in weights(base).items()}}


def added(models: Mapping[str, Mapping[str, Tensor]], shares: Mapping[str, float]) -> dict[str, Tensor]:
    """The base plus the weighted sum of deltas, as plainly as it can be written."""
    base = models["base"]
    return {
        name: base[name] + sum((share * (models[alias][name] - base[name]) for alias, share in shares.items()), 0.0)
        for name in base
    }


SHARES = [
    {"lora": 1.0, "rslora": 1.0},
    {"lora": 0.5, "rslora": 0.25, "dora": 0.75, "mixed": 1.5},
    {"lora": 1.0, "dora": -1.0},
    {"dora": -0.3},
    {"expert": 0.5, "mixed": 0.5, "dora": 2.0},
]


@pytest.mark.parametrize("shares", SHARES, ids="-".join)
def test_a_weighted_sum_adds_the_effective_delta_of_every_brick(
    shares: dict[str, float],
    base: Path,
    bricks: Mapping[str, Path],
    models: dict[str, dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    used = {alias: bricks[alias] for alias in shares}
    built = weights(build(manifest(base, used, sum_of(**shares)), tmp_path / "built"))
    assert worst_ratio(built, added(models, shares)) <= TOLERANCE


def test_neither_order_nor_names_change_a_byte(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    shares = {"lora": 0.3, "rslora": 0.7, "dora": 1.1, "expert": -0.2}
    found = []
    for number, order in enumerate(itertools.permutations(shares)):
        names = dict(zip(order, "abcd", strict=True))
        used = {names[alias]: bricks[alias] for alias in order}
        step = sum_of(**{names[alias]: shares[alias] for alias in order})
        found.append(digest(manifest(base, used, step), tmp_path / str(number)))
    assert len(found) == 24
    assert len(set(found)) == 1


def test_bricks_of_equal_content_are_summed_in_one_order_whatever_their_names(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    """Equal digests leave the order of the arithmetic to the weights, never to the names; fp64 shows every bit."""
    aliases = ["lora", "rslora", "dora"]
    twins = {alias: shutil.copytree(bricks[alias], tmp_path / alias) for alias in aliases}
    found = []
    for first, second in [("a", "b"), ("b", "a")]:
        used = {f"{first}-{alias}": bricks[alias] for alias in aliases}
        used |= {f"{second}-{alias}": twins[alias] for alias in aliases}
        step = sum_of(**{alias: 0.1 if alias.startswith(first) else 0.7 for alias in used})
        found.append(digest(manifest(base, used, step, 'dtype = "float64"'), tmp_path / first))
    assert found[0] == found[1]


@pytest.mark.parametrize("zero", ["0", "0.0", "-0.0"])
def test_weight_zero_gives_the_base_bit_for_bit(
    zero: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    step = sum_of(lora=zero, dora=zero, expert=zero)
    built = build(manifest(base, bricks, step), tmp_path / "built")
    for name in ("model.safetensors", "config.json"):
        assert (built / name).read_bytes() == (base / name).read_bytes()


def test_a_brick_of_weight_zero_leaves_no_trace_in_a_sum(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with_it = digest(manifest(base, bricks, sum_of(lora=1.0, dora=0.0)), tmp_path / "with")
    assert with_it == digest(manifest(base, bricks, sum_of(lora=1.0)), tmp_path / "without")


def test_not_even_infinities_of_a_brick_of_weight_zero_count(base: Path, tmp_path: Path) -> None:
    """0 times infinity is not a number; a weight of 0 means that the brick takes no part."""
    broken = tuned(base, tmp_path / "broken")
    content = bytearray((broken / "model.safetensors").read_bytes())
    content[-4:] = b"\x00\x00\x80\x7f"
    (broken / "model.safetensors").write_bytes(content)
    built = build(manifest(base, {"a": broken}, sum_of(a=0)), tmp_path / "built")
    assert (built / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()


def test_steps_follow_each_other_and_every_delta_is_that_of_the_base(
    base: Path, bricks: Mapping[str, Path], models: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    """DoRA depends on the weights below it: its delta is taken on the base, not on what the first step made."""
    steps = f"{sum_of(lora=1.0)}, {sum_of(dora=0.5)}, {sum_of(expert=-1.0)}"
    built = weights(build(manifest(base, bricks, steps), tmp_path / "built"))
    assert worst_ratio(built, added(models, {"lora": 1.0, "dora": 0.5, "expert": -1.0})) <= TOLERANCE


def test_taking_away_what_was_added_leaves_the_base(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    steps = f"{sum_of(lora=1.0, dora=2.0)}, {sum_of(lora=-1.0, dora=-2.0)}"
    built = weights(build(manifest(base, bricks, steps), tmp_path / "built"))
    assert worst_ratio(built, weights(base)) <= 1e-7


def test_scale_multiplies_the_whole_sum(
    base: Path, bricks: Mapping[str, Path], models: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    step = '{ op = "merge", method = "task_arithmetic", scale = 0.5, bricks = { lora = 1.0, dora = 3.0 } }'
    built = weights(build(manifest(base, bricks, step), tmp_path / "built"))
    assert worst_ratio(built, added(models, {"lora": 0.5, "dora": 1.5})) <= TOLERANCE


def test_a_gradient_goes_from_the_first_layer_to_the_last(
    base: Path, bricks: Mapping[str, Path], models: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    """[0, 1, 0.5] over layers 0, 1, 2: weight 0, 1, 0.5; embeddings as the first, final norm and head as the last."""
    built = weights(build(manifest(base, bricks, sum_of(expert="[0.0, 1.0, 0.5]")), tmp_path / "built"))
    shares = {
        "layers.0.": 0.0,
        "layers.1.": 1.0,
        "layers.2.": 0.5,
        "embed_tokens": 0.0,
        "model.norm": 0.5,
        "lm_head": 0.5,
    }
    for name, tensor in built.items():
        (share,) = (value for part, value in shares.items() if part in name)
        before, after = models["base"][name], models["expert"][name]
        torch.testing.assert_close(tensor.double(), before + share * (after - before), rtol=0, atol=1e-6)


def test_two_numbers_over_three_layers_give_their_mean_in_the_middle(
    base: Path, bricks: Mapping[str, Path], models: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    built = weights(build(manifest(base, bricks, sum_of(expert="[0.2, 1.0]")), tmp_path / "built"))
    name = "model.layers.1.mlp.up_proj.weight"
    before, after = models["base"][name], models["expert"][name]
    torch.testing.assert_close(built[name].double(), before + 0.6 * (after - before), rtol=0, atol=1e-6)


def test_the_first_filter_that_matches_gives_the_weight(
    base: Path, bricks: Mapping[str, Path], models: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    rules = (
        '[{ filter = "*.layers.0.mlp.*", value = 2.0 }, { filter = "*.mlp.*", value = [0.0, 1.0] }, { value = 0.25 }]'
    )
    built = weights(build(manifest(base, bricks, sum_of(lora=rules)), tmp_path / "built"))
    shares = {"layers.0.mlp": 2.0, "layers.1.mlp": 0.5, "layers.2.mlp": 1.0}
    for name, tensor in built.items():
        share = next((value for part, value in shares.items() if part in name), 0.25)
        before, after = models["base"][name], models["lora"][name]
        torch.testing.assert_close(tensor.double(), before + share * (after - before), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ('[{ filter = "*.mpl.*", value = 1.0 }, { value = 0.0 }]', "the filter `*.mpl.*` .* matches no tensor"),
        ('[{ filter = "*.mlp.*", value = 1.0 }]', "says nothing about 21 of 30 tensors"),
    ],
)
def test_filters_that_miss_are_refused(
    rules: str, reason: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ManifestInvalid, match=reason.replace("*.", r"\*\.").replace(" .\\*\\.", " .*")) as caught:
        prepare(manifest(base, bricks, sum_of(lora=rules)), tmp_path)
    assert "lora" in str(caught.value)


def test_a_tied_head_has_the_weight_of_the_embedding(tmp_path: Path) -> None:
    """Else a gradient would tear apart what the base shares."""
    tied = tiny_model(tmp_path / "tied", tie_word_embeddings=True)
    brick = tuned(tied, tmp_path / "expert")
    built = build(manifest(tied, {"a": brick}, sum_of(a="[0.5, 1.0]")), tmp_path / "built")
    name = "model.embed_tokens.weight"
    found, before, after = (weights(folder) for folder in (built, tied, brick))
    assert "lm_head.weight" not in found
    torch.testing.assert_close(found[name], (before[name] + after[name]) / 2)
    assert (built / "config.json").read_bytes() == (tied / "config.json").read_bytes()


def test_a_sum_on_a_tied_base_answers_as_the_sum_of_both_deltas(tmp_path: Path) -> None:
    """One brick changes the embedding, the other the head: the result unties them and holds both changes."""
    tied = tiny_model(tmp_path / "tied", tie_word_embeddings=True)
    inside = adapter(tied, tmp_path / "inside", seed=20, target_modules=["embed_tokens"])
    outside = adapter(tied, tmp_path / "outside", seed=21, target_modules=["lm_head"])
    built = build(manifest(tied, {"a": inside, "b": outside}, sum_of(a=1.0, b=1.0)), tmp_path / "built")
    model = load_with_adapter(tied, inside)
    hidden: list[Tensor] = []
    head = load_with_adapter(tied, outside).base_model.model.lm_head
    model.base_model.model.lm_head.register_forward_hook(lambda _, inputs, __: hidden.append(inputs[0]))
    logits(model)
    with torch.no_grad():
        torch.testing.assert_close(logits(load(built)), head(hidden[0]), rtol=0, atol=2e-5)


LINEAR_STEP = '{{ op = "merge", method = "linear"{settings}, bricks = {{ {bricks} }} }}'


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    "shares",
    [
        {"expert": 1.0},
        {"expert": 0.3, "base": 0.7},
        {"lora": 1.0, "dora": 1.0, "expert": 2.0},
        {"mixed": 2.0, "base": -0.5},
    ],
    ids="-".join,
)
def test_linear_is_the_weighted_mean_or_sum_of_whole_models(
    *,
    normalize: bool,
    shares: dict[str, float],
    base: Path,
    bricks: Mapping[str, Path],
    models: dict[str, dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    listed = ", ".join(f"{alias} = {share}" for alias, share in shares.items())
    step = LINEAR_STEP.format(settings=f", normalize = {str(normalize).lower()}", bricks=listed)
    built = weights(build(manifest(base, bricks, step), tmp_path / "built"))
    total = sum(shares.values()) if normalize else 1.0
    expected = {
        name: sum((share * models[alias][name] for alias, share in shares.items()), torch.tensor(0.0)) / total
        for name in built
    }
    assert worst_ratio(built, expected) <= TOLERANCE


def test_base_in_a_mean_is_the_running_model(
    base: Path, bricks: Mapping[str, Path], models: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    """First add a delta, then average with the expert: (base + lora + expert) / 2 element by element."""
    steps = f"{sum_of(lora=1.0)}, {LINEAR_STEP.format(settings='', bricks='base = 1, expert = 1')}"
    built = weights(build(manifest(base, bricks, steps), tmp_path / "built"))
    expected = {name: (models["lora"][name] + models["expert"][name]) / 2 for name in built}
    assert worst_ratio(built, expected) <= TOLERANCE


def test_a_mean_without_weight_is_refused(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    step = LINEAR_STEP.format(settings="", bricks="base = 1, expert = -1")
    with pytest.raises(ManifestInvalid, match="weights sum to 0"):
        prepare(manifest(base, bricks, step), tmp_path)


def test_a_target_can_start_from_another(
    base: Path, bricks: Mapping[str, Path], models: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    more = f'[targets.second]\nfrom = {{ target = "t" }}\napply = [{sum_of(rslora=0.5)}]'
    text = manifest(base, bricks, sum_of(lora=1.0), more=more)
    built = weights(build(text, tmp_path / "built", "second"))
    assert worst_ratio(built, added(models, {"lora": 1.0, "rslora": 0.5})) <= TOLERANCE


def test_a_target_that_adds_nothing_to_another_equals_it(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    """Also in another type than the base's: the type of a start is the type of what it is built into."""
    more = '[targets.second]\nfrom = { target = "t" }'
    text = manifest(base, bricks, sum_of(lora=1.0), 'dtype = "bfloat16"', more)
    first, second = build(text, tmp_path / "first"), build(text, tmp_path / "second", "second")
    for name in ("model.safetensors", "config.json"):
        assert (second / name).read_bytes() == (first / name).read_bytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_a_result_is_rounded_once_to_the_type_that_is_asked_for(
    dtype: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    text = manifest(base, bricks, sum_of(lora=1.0))
    exact = weights(build(manifest(base, bricks, sum_of(lora=1.0), 'dtype = "float64"'), tmp_path / "exact"))
    asked = manifest(base, bricks, sum_of(lora=1.0), f'dtype = "{dtype}"')
    built = build(asked, tmp_path / "built")
    assert text != asked
    assert json.loads((built / "config.json").read_text())["dtype"] == dtype
    for name, tensor in weights(built).items():
        assert torch.equal(tensor, exact[name].to(getattr(torch, dtype)))


def test_shards_hold_the_tensors_of_the_base_in_its_order(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    built = build(manifest(base, bricks, sum_of(lora=1.0), 'shard-size = "40kB"'), tmp_path / "built")
    whole = build(manifest(base, bricks, sum_of(lora=1.0)), tmp_path / "whole")
    index = json.loads((built / "model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in built.glob("*.safetensors"))
    assert shards == [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    assert all((built / shard).stat().st_size < 42_000 for shard in shards)
    assert sorted(set(index["weight_map"].values())) == shards
    assert worst_ratio(weights(built), weights(whole)) == 0
    torch.testing.assert_close(logits(load(built)), logits(load(whole)), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_mean_of_whole_models_is_rounded_once_whatever_they_are_stored_in(
    base: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    """Against fp64, rounded to the stored type at the end: no element may differ, in any order of the digests."""

    def stored(folder: Path) -> Path:
        return edit_tensors(folder, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})

    shares = {"one": 0.3, "two": 0.3, "three": 0.4}
    start = stored(Path(shutil.copytree(base, tmp_path / "base")))
    experts = {alias: stored(tuned(base, tmp_path / alias, seed=20 + at)) for at, alias in enumerate(shares)}
    entries = ", ".join(f"{alias} = {share}" for alias, share in shares.items())
    step = LINEAR_STEP.format(settings="", bricks=entries)

    built = weights(build(manifest(start, experts, step), tmp_path / "built"))

    models = {alias: weights(folder) for alias, folder in experts.items()}
    for name, tensor in built.items():
        wide = [models[alias][name].double() * share for alias, share in shares.items()]
        possible = {(sum(order, torch.tensor(0.0)) / 1.0).to(dtype) for order in itertools.permutations(wide)}
        assert any(torch.equal(tensor, one) for one in possible), name
