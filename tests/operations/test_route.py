"""Routed adapters: one form for all of them, exact prototypes, and lines that load the whole with PEFT alone."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from brickctl.errors import BrickctlError, ManifestInvalid, Unsupported
from tests.support.adapters import adapter_of
from tests.support.architectures import adapter_on, model_of
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.models import (
    LINEAR,
    adapter,
    edit_tensors,
    load,
    load_with_adapter,
    logits,
    merged_by_peft,
    tuned,
    weights,
)
from tests.support.routing import ASK_LOGITS, model_of_words, run_guide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

ATTENTION = LINEAR[:4]
STEP = '{ op = "route", method = "arrow", bricks = ["plain", "stable", "patterned"], top-k = 2, temperature = 0.5 }'


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("route")


@pytest.fixture(scope="module")
def base(scratch: Path) -> Path:
    return model_of_words(scratch / "base")


@pytest.fixture(scope="module")
def bricks(scratch: Path, base: Path) -> dict[str, Path]:
    """Adapters of several ranks, scales and modules; one is a DoRA, and one no adapter at all."""
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.q_proj": 5}}
    return {
        "plain": adapter(base, scratch / "plain", seed=1),
        "stable": adapter(base, scratch / "stable", seed=2, r=3, use_rslora=True, target_modules=ATTENTION),
        "patterned": adapter(base, scratch / "patterned", seed=3, r=6, layers_to_transform=[1, 2], **patterns),
        "dora": adapter(base, scratch / "dora", seed=4, use_dora=True, target_modules=["q_proj"]),
        "whole": adapter(base, scratch / "whole", seed=5, modules_to_save=["lm_head"]),
        "expert": tuned(base, scratch / "expert"),
    }


@pytest.fixture(scope="module")
def routed(scratch: Path, base: Path, bricks: Mapping[str, Path]) -> Path:
    return build(manifest(base, bricks, STEP), scratch / "routed")


def arrow(*names: str, more: str = "") -> str:
    """TOML of a route step by Arrow."""
    return f'{{ op = "route", method = "arrow", bricks = {json.dumps(names)}{more} }}'


def prototypes(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "router/prototypes.safetensors")


def deltas(folder: Path) -> dict[str, Tensor]:
    """B A of every module of an adapter in canonical form, in fp64."""
    found = load_file(folder / "adapter_model.safetensors")
    paths = [name.removesuffix(".lora_A.weight") for name in found if name.endswith("lora_A.weight")]
    return {
        path.removeprefix("base_model.model."): found[f"{path}.lora_B.weight"].double()
        @ found[f"{path}.lora_A.weight"].double()
        for path in paths
    }


def test_every_adapter_has_the_same_modules_rank_and_configuration(routed: Path) -> None:
    folders = [routed / "adapters" / name for name in ("plain", "stable", "patterned")]
    (config,) = {(folder / "adapter_config.json").read_bytes() for folder in folders}
    document = json.loads(config)
    assert (document["r"], document["lora_alpha"], document["use_rslora"]) == (6, 6, False)
    assert document["target_modules"] == sorted(LINEAR)
    tensors = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    (shapes,) = {tuple((name, tuple(one.shape), one.dtype) for name, one in found.items()) for found in tensors}
    assert len(shapes) == 2 * 3 * len(LINEAR)
    assert all(shape["lora_B" in name] == 6 and dtype == torch.float32 for name, shape, dtype in shapes)


@pytest.mark.parametrize("name", ["plain", "stable", "patterned"])
def test_the_canonical_form_has_the_effect_of_the_adapter(
    name: str, routed: Path, base: Path, bricks: Mapping[str, Path]
) -> None:
    """Patterns, rsLoRA, padding and modules that it does not touch: the logits are those of the adapter itself."""
    found = logits(load_with_adapter(base, routed / "adapters" / name))
    torch.testing.assert_close(found, logits(load_with_adapter(base, bricks[name])), rtol=0, atol=2e-5)
    merged, before = merged_by_peft(base, bricks[name]), weights(base)
    for path, delta in deltas(routed / "adapters" / name).items():
        wanted = merged[f"{path}.weight"].double() - before[f"{path}.weight"].double()
        torch.testing.assert_close(delta, wanted, rtol=0, atol=1e-6)


def test_factors_that_need_no_scale_and_no_padding_are_those_of_the_file(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    built = build(manifest(base, bricks, arrow("plain", "stable")), tmp_path / "built")
    before = load_file(bricks["plain"] / "adapter_model.safetensors")
    after = load_file(built / "adapters/plain/adapter_model.safetensors")
    for name, tensor in after.items():
        factor = 1.0 if "lora_A" in name else 6 / 4
        assert torch.equal(tensor, (before[name].double() * factor).float())


def test_prototypes_are_first_right_singular_vectors(routed: Path) -> None:
    """|cos| with the full decomposition is at least 0.999, as it must be; here it is 1 to seven digits."""
    found = prototypes(routed)
    each = [deltas(routed / "adapters" / name) for name in ("plain", "stable", "patterned")]
    assert list(found) == list(each[0])
    compared = 0
    for path, rows in found.items():
        for row, delta in zip(rows, (one[path] for one in each), strict=True):
            if not delta.any():
                assert not row.any()
                continue
            vector = torch.linalg.svd(delta).Vh[0]
            assert abs(float(row.double() @ vector)) == pytest.approx(1.0, abs=1e-6)
            assert float(row[row.abs().argmax()]) > 0
            compared += 1
    assert compared == 3 * 7 + 3 * 4 + 2 * 7


def test_adding_a_brick_leaves_the_other_prototypes_bitwise_equal(
    routed: Path, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    """Also one of a larger rank, with which all factors are padded."""
    fewer = prototypes(build(manifest(base, bricks, arrow("plain", "stable")), tmp_path / "built"))
    more = prototypes(routed)
    assert all(torch.equal(rows, more[path][:2]) for path, rows in fewer.items())


def test_prototypes_do_not_depend_on_signs(
    base: Path, bricks: Mapping[str, Path], routed: Path, tmp_path: Path
) -> None:
    """A, or B, of some modules negated: the delta changes its sign, and its direction none."""

    def flipped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: -one if ("lora_A" in name) is (".0." in name) else one for name, one in tensors.items()}

    turned = edit_tensors(shutil.copytree(bricks["plain"], tmp_path / "plain"), flipped)
    again = prototypes(build(manifest(base, {**bricks, "plain": turned}, STEP), tmp_path / "built"))
    for path, rows in prototypes(routed).items():
        torch.testing.assert_close(again[path], rows, rtol=0, atol=1e-6)


ASK_ARROW = (
    ASK_LOGITS
    + """
layer = model.get_base_model().model.layers[0].self_attn.q_proj
said["prototypes"] = layer.lora_arrow["arrow_router"].prototypes.tolist()
"""
)


def routed_logits(base: Path, folder: Path, names: tuple[str, ...], top_k: int, temperature: float) -> Tensor:
    """The formula of Arrow, written out: a hook on every module adds what the chosen adapters say."""
    model = load(base)
    known = prototypes(folder)
    each = [{path: delta.float() for path, delta in deltas(folder / "adapters" / name).items()} for name in names]

    def hook(path: str) -> Callable[[Any, tuple[Tensor], Tensor], Tensor]:
        def add(_: Any, given: tuple[Tensor], out: Tensor) -> Tensor:
            scores = (given[0] @ known[path].T).abs()
            best = scores.topk(top_k, dim=-1)
            shares = torch.zeros_like(scores).scatter(-1, best.indices, (best.values / temperature).softmax(dim=-1))
            said = torch.stack([given[0] @ one[path].T for one in each], dim=-1)
            return out + (said * shares.unsqueeze(-2)).sum(dim=-1)

        return add

    for path in known:
        model.get_submodule(path).register_forward_hook(hook(path))
    return logits(model)


def test_the_lines_in_the_guide_route_every_token_as_the_formula_says(routed: Path, base: Path) -> None:
    said = run_guide(routed, ASK_ARROW)
    wanted = routed_logits(base, routed, ("plain", "stable", "patterned"), 2, 0.5)
    torch.testing.assert_close(torch.tensor(said["none"]), logits(load(base)), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.tensor(said["routed"]), wanted, rtol=0, atol=2e-5)
    assert float((wanted - logits(load(base))).abs().max()) > 0.05
    ours = prototypes(routed)["model.layers.0.self_attn.q_proj"]
    assert torch.equal(torch.tensor(said["prototypes"]), ours)


def test_a_dora_becomes_the_nearest_lora_of_twice_its_rank(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    built = build(manifest(base, bricks, arrow("plain", "dora")), tmp_path / "built")
    missed = load_file(built / "router/approximations.safetensors")
    merged, before = merged_by_peft(base, bricks["dora"]), weights(base)
    found = deltas(built / "adapters/dora")
    assert len(missed) == 3
    for name, (far, norm) in missed.items():
        path = name.removeprefix("dora.")
        delta = merged[f"{path}.weight"].double() - before[f"{path}.weight"].double()
        least = torch.linalg.svdvals(delta)[8:].square().sum().sqrt()
        assert float(norm) == pytest.approx(float(delta.norm()), rel=1e-4)
        assert float(far) == pytest.approx(float(least), rel=1e-3)
        assert float((delta - found[path]).norm()) == pytest.approx(float(far), rel=1e-3)
        assert 0.05 < far / norm < 0.95


def test_more_rank_misses_less_of_a_dora_and_none_is_missed_at_full_rank(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    text = manifest(base, bricks, arrow("plain", "dora", more=", rank = 32"))
    note = prepare(text, tmp_path).artifact.notes[0]
    assert note == "`dora` is no product of two small factors, and becomes the LoRA of rank 32 that is nearest to it"
    built = build(text, tmp_path / "built")
    for far, norm in load_file(built / "router/approximations.safetensors").values():
        assert far < 1e-6 * norm
    found = logits(load_with_adapter(base, built / "adapters/dora"))
    torch.testing.assert_close(found, logits(load_with_adapter(base, bricks["dora"])), rtol=0, atol=2e-5)


def test_a_route_can_stand_on_a_merge(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    built = build(manifest(base, bricks, f"{sum_of(expert=1.0)}, {arrow('plain', 'stable')}"), tmp_path / "built")
    expert = weights(bricks["expert"])
    assert all(torch.equal(tensor, expert[name]) for name, tensor in weights(built).items())


def test_the_bytes_do_not_depend_on_threads_or_memory(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    text = manifest(base, bricks, arrow("plain", "stable", "dora"))
    assert digest(text, tmp_path / "one", threads=1) == digest(text, tmp_path / "two", threads=2, memory=64_000_000)


def test_the_base_is_copied_whole_and_only_small_files_are_computed(
    base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    plan = prepare(manifest(base, bricks, STEP), tmp_path).plan
    assert [shard.path for shard in plan.shards] == [
        "router/prototypes.safetensors",
        *(f"adapters/{name}/adapter_model.safetensors" for name in ("plain", "stable", "patterned")),
    ]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ('{ op = "route", bricks = ["plain"] }', "a route needs `method`"),
        ('{ op = "route", method = "arow", bricks = ["plain"] }', "there is no router `arow`"),
        ('{ op = "route", method = "arrow", bricks = [] }', "a route needs `bricks`"),
        (arrow("plain", "plain"), "names each adapter once"),
        (arrow("plain", "base"), "names each adapter once, and not the base"),
        (arrow("plain"), "chooses among two adapters at least"),
        (arrow("plain", "stable", more=", top-k = 3"), "must be from 1 to 2"),
        (arrow("plain", "stable", more=", top-k = 0"), "must be from 1 to 2"),
        (arrow("plain", "stable", more=", temperature = 0"), "must be from 1e-06 to 1,000,000"),
        (arrow("plain", "stable", more=", temperature = 1e-45"), "must be from 1e-06 to 1,000,000"),
        (arrow("plain", "stable", more=", temperature = 1e300"), "must be from 1e-06 to 1,000,000"),
        (arrow("plain", "stable", more=", rank = 0"), "must be from 1 to"),
        (arrow("plain", "stable", more=", temperatur = 1.0"), "temperatur"),
        (arrow("plain", "stabel"), "uses `stabel`, which is no brick here"),
        (f"{STEP}, {sum_of(expert=1.0)}", "nothing can change a model after its router"),
        (f'{STEP}, {{ op = "stack", bricks = ["dora"] }}', "nothing can change a model after its router"),
        (f"{STEP}, {STEP}", "nothing can change a model after its router"),
        (f'{{ op = "stack", bricks = ["dora"] }}, {STEP}', "a route cannot follow a stack"),
    ],
)
def test_routes_that_make_no_sense_are_refused(
    step: str, reason: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        prepare(manifest(base, bricks, step), tmp_path)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("expert", "only adapters can be routed; `expert` is of kind expert"),
        ("whole", "it changes `lm_head.weight`, which no LoRA of a linear layer holds"),
    ],
)
def test_what_is_no_lora_is_refused_by_name(
    name: str, reason: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BrickctlError) as caught:
        prepare(manifest(base, bricks, arrow("plain", name)), tmp_path)
    assert reason in f"{caught.value} {caught.value.causes}"


@pytest.mark.parametrize("peft_type", ["LOHA", "LOKR", "VERA", "ADALORA", "IA3", "BOFT"])
def test_adapters_of_other_types_have_their_effect_at_full_rank(
    peft_type: str, base: Path, bricks: Mapping[str, Path], tmp_path: Path
) -> None:
    other = adapter_of(peft_type, base, tmp_path / "other")
    text = manifest(base, {**bricks, "other": other}, arrow("plain", "other", more=", rank = 32"))
    built = build(text, tmp_path / "built")
    found = logits(load_with_adapter(base, built / "adapters/other"))
    torch.testing.assert_close(found, logits(load_with_adapter(base, other)), rtol=0, atol=5e-5)


def test_what_has_no_rank_of_its_own_needs_one(base: Path, bricks: Mapping[str, Path], tmp_path: Path) -> None:
    other = adapter_of("IA3", base, tmp_path / "other")
    with pytest.raises(Unsupported, match="`other` is no LoRA") as caught:
        prepare(manifest(base, {**bricks, "other": other}, arrow("plain", "other")), tmp_path)
    assert caught.value.hint == "say how good the approximation is to be: rank = 16"


def test_weights_that_are_stored_the_other_way_round_are_routed_too(tmp_path: Path) -> None:
    """GPT-2 stores what its layers multiply with transposed, and DoRA's rows are its columns."""
    base = model_of("gpt2", tmp_path / "base")
    adapters = {
        "plain": adapter_on(base, tmp_path / "plain", seed=1),
        "dora": adapter_on(base, tmp_path / "dora", seed=2, use_dora=True),
    }
    built = build(manifest(base, adapters, arrow("plain", "dora", more=", rank = 64")), tmp_path / "built")
    for name, folder in adapters.items():
        found = logits(load_with_adapter(base, built / "adapters" / name))
        torch.testing.assert_close(found, logits(load_with_adapter(base, folder)), rtol=0, atol=5e-5)
