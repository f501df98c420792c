"""Stitches against layers that were copied and merged by hand, and against running these layers one after the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from brickctl.analysis.load import unmatched_keys
from brickctl.core.nodes import Stored
from tests.support.building import build, digest, manifest, prepare
from tests.support.models import adapter, load, logits, merged_by_peft, tiny_model, tuned, weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from tests.support.sandbox import Sandbox

Weights = dict[str, "Tensor"]
TWO = '{ brick = "base", layers = [0, 2] }, { brick = "long", layers = [1, 5] }, { brick = "base", layers = [1, 3] }'
UP = "mlp.up_proj.weight"


def stitch(slices: str, more: str = "") -> str:
    return f'{{ op = "stitch", slices = [{slices}]{more} }}'


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base of three layers, two bricks upon it, and a stranger of the same sizes with five layers."""
    folder = tmp_path_factory.mktemp("stitch")
    base = tiny_model(folder / "base")
    return {
        "base": base,
        "one": tuned(base, folder / "one"),
        "lora": adapter(base, folder / "lora"),
        "long": tiny_model(folder / "long", seed=5, num_hidden_layers=5),
    }


def text(models: dict[str, Path], apply: str, settings: str = "", more: str = "") -> str:
    bricks = {alias: folder for alias, folder in models.items() if alias != "base"}
    return manifest(models["base"], bricks, apply, settings, more)


def built(models: dict[str, Path], apply: str, folder: Path, settings: str = "") -> Weights:
    return weights(build(text(models, apply, settings), folder))


def layer(tensors: Weights, number: int) -> Weights:
    """The tensors of one layer, by the rest of their names."""
    start = f"model.layers.{number}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def config_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def test_layers_of_two_models_stand_in_the_order_of_the_slices(models: dict[str, Path], tmp_path: Path) -> None:
    out = built(models, stitch(TWO), tmp_path / "out")
    base, long = weights(models["base"]), weights(models["long"])
    expected = [(base, 0), (base, 1), (long, 1), (long, 2), (long, 3), (long, 4), (base, 1), (base, 2)]
    assert len(out) == 8 * 9 + 3
    for number, (model, source) in enumerate(expected):
        found, wanted = layer(out, number), layer(model, source)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[rest], wanted[rest]) for rest in wanted)
    assert all(torch.equal(out[name], base[name]) for name in base if ".layers." not in name)
    assert config_of(tmp_path / "out") == {**config_of(models["base"]), "num_hidden_layers": 8}
    assert unmatched_keys(tmp_path / "out") == ()


def test_a_layer_that_stands_twice_runs_twice(models: dict[str, Path], tmp_path: Path) -> None:
    build(
        text(models, stitch('{ brick = "base", layers = [0, 2] }, { brick = "base", layers = [1, 3] }')), tmp_path / "o"
    )
    by_hand: Any = load(models["base"])
    first, second, third = by_hand.model.layers
    by_hand.model.layers = torch.nn.ModuleList([first, second, second, third])
    by_hand.config.num_hidden_layers = 4
    by_hand.config.use_cache = False
    torch.testing.assert_close(logits(load(tmp_path / "o")), logits(by_hand), rtol=0, atol=1e-6)


def test_copied_layers_are_bytes_of_files_and_need_no_torch(models: dict[str, Path], empty: Sandbox) -> None:
    said = text(models, stitch(TWO))
    plan = prepare(said, empty.home.parent).artifact.root
    assert all(isinstance(node, Stored) for node in plan.tensors.values())
    empty.write({"brick.toml": said})
    script = (
        "import sys, brickctl.cli.app as app, brickctl.cli as cli\n"
        "code = app.run(app.application(cli), ['build', 't'])\n"
        "print(code, sorted(name for name in ('torch', 'numpy') if name in sys.modules))\n"
    )
    assert empty.spawn(python=("-c", script)).lines[-1] == "0 []"


def test_over_the_layers_of_a_slice_a_gradient_runs_from_its_first_value_to_its_last(
    models: dict[str, Path], tmp_path: Path
) -> None:
    first = '{ brick = "base", layers = [0, 3], weight = [1.0, 0.0] }'
    weighted = f'{first}, {{ brick = "long", layers = [2, 5], weight = [0.0, 1.0] }}'
    slices = f'{{ brick = "base", layers = [0, 1] }}, {{ method = "linear", bricks = [{weighted}] }}'
    out, base, long = built(models, stitch(slices), tmp_path / "out"), weights(models["base"]), weights(models["long"])
    half = (layer(base, 1)[UP].double() + layer(long, 3)[UP].double()) / 2
    expected = [layer(base, 0)[UP], layer(base, 0)[UP], half.float(), layer(long, 4)[UP]]
    assert all(torch.equal(layer(out, number)[UP], tensor) for number, tensor in enumerate(expected))


def test_deltas_are_added_to_the_layers_of_the_base(models: dict[str, Path], tmp_path: Path) -> None:
    whole = '{ method = "task_arithmetic", layers = [1, 3], bricks = { one = 0.5, lora = 2.0 } }'
    bricks = '{ brick = "base", layers = [0, 1] }, { brick = "one", layers = [2, 3], weight = 0.5 }'
    out = built(models, stitch(f'{whole}, {{ method = "task_arithmetic", bricks = [{bricks}] }}'), tmp_path / "out")
    found = (weights(models["base"]), weights(models["one"]), merged_by_peft(models["base"], models["lora"]))
    base, one, lora = ([layer(model, number)[UP].double() for number in range(3)] for model in found)
    expected = [base[i] + 0.5 * (one[i] - base[i]) + 2 * (lora[i] - base[i]) for i in (1, 2)]
    expected.append(base[0] + 0.5 * (one[2] - base[0]))
    for number, tensor in enumerate(expected):
        torch.testing.assert_close(layer(out, number)[UP].double(), tensor, rtol=0, atol=1e-7)


def test_an_adapter_stands_for_the_base_with_it(models: dict[str, Path], tmp_path: Path) -> None:
    slices = '{ brick = "lora", layers = [2, 3] }, { brick = "base", layers = [0, 1] }'
    out = built(models, stitch(slices), tmp_path / "out")
    merged = layer(merged_by_peft(models["base"], models["lora"]), 2)
    assert all((tensor - merged[rest]).abs().max() <= 1e-7 for rest, tensor in layer(out, 0).items())
    assert not torch.equal(layer(out, 0)[UP], layer(weights(models["base"]), 2)[UP])


def test_a_layer_that_is_used_twice_loses_other_entries_by_chance(models: dict[str, Path], tmp_path: Path) -> None:
    dare = '{ method = "dare_linear", layers = [1, 2], density = 0.5, bricks = { one = 1.0 } }'
    out = built(models, stitch(f"{dare}, {dare}"), tmp_path / "out")
    base = layer(weights(models["base"]), 1)[UP]
    kept = [layer(out, number)[UP] != base for number in (0, 1)]
    assert 0.45 < (kept[0] != kept[1]).float().mean() < 0.55  # independent draws of 1/2 differ in half of the entries


def test_what_lies_outside_of_the_layers_is_taken_from_where_it_is_said(
    models: dict[str, Path], tmp_path: Path
) -> None:
    outside = ', before = { brick = "long" }, after = { method = "linear", bricks = { base = 1.0, one = 3.0 } }'
    out = built(models, stitch('{ brick = "base", layers = [0, 2] }', outside), tmp_path / "out")
    base, one, long = (weights(models[alias]) for alias in ("base", "one", "long"))
    assert torch.equal(out["model.embed_tokens.weight"], long["model.embed_tokens.weight"])
    for name in ("model.norm.weight", "lm_head.weight"):
        mean = (base[name].double() + 3 * one[name].double()) / 4
        assert torch.equal(out[name], mean.float())


@pytest.mark.parametrize("before", ["", ', before = { brick = "one" }'])
def test_a_tied_head_stays_tied_and_follows_the_embedding(before: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    models = {"base": base, "one": tuned(base, tmp_path / "one")}
    out = built(models, stitch('{ brick = "base", layers = [1, 3] }', before), tmp_path / "out")
    source = weights(models["one" if before else "base"])
    assert "lm_head.weight" not in out
    assert torch.equal(out["model.embed_tokens.weight"], source["model.embed_tokens.weight"])
    assert config_of(tmp_path / "out")["tie_word_embeddings"] is True
    assert unmatched_keys(tmp_path / "out") == ()


def test_a_head_of_its_own_unties_the_model(tmp_path: Path) -> None:
    models = {
        "base": tiny_model(tmp_path / "base", tie_word_embeddings=True),
        "long": tiny_model(tmp_path / "long", seed=5),
    }
    out = built(
        models, stitch('{ brick = "base", layers = [0, 3] }', ', before = { brick = "long" }'), tmp_path / "out"
    )
    assert torch.equal(out["lm_head.weight"], weights(models["long"])["lm_head.weight"])
    assert config_of(tmp_path / "out")["tie_word_embeddings"] is False


def test_a_merge_may_come_before_and_base_is_then_what_it_made(models: dict[str, Path], tmp_path: Path) -> None:
    merge = '{ op = "merge", method = "task_arithmetic", bricks = { one = 0.5 } }'
    slices = (
        '{ brick = "base", layers = [2, 3] }, { method = "task_arithmetic", layers = [0, 1], bricks = { one = 1.0 } }'
    )
    out = built(models, f"{merge}, {stitch(slices)}", tmp_path / "out")
    base, one = (layer(weights(models[alias]), 0)[UP].double() for alias in ("base", "one"))
    merged = built(models, merge, tmp_path / "merged")
    assert torch.equal(layer(out, 0)[UP], layer(merged, 2)[UP])
    torch.testing.assert_close(layer(out, 1)[UP].double(), base + 1.5 * (one - base), rtol=0, atol=1e-7)


def test_a_target_may_start_from_a_stitched_one_and_stitch_it_again(models: dict[str, Path], tmp_path: Path) -> None:
    slices = '{ brick = "base", layers = [7, 8] }, { brick = "long", layers = [0, 1] }'
    again = f'\n[targets.u]\nfrom = {{ target = "t" }}\ndtype = "bfloat16"\napply = [{stitch(slices)}]'
    out = weights(build(text(models, stitch(TWO), more=again), tmp_path / "out", "u"))
    base, long = weights(models["base"]), weights(models["long"])
    assert torch.equal(layer(out, 0)[UP], layer(base, 2)[UP].bfloat16())
    assert torch.equal(layer(out, 1)[UP], layer(long, 0)[UP].bfloat16())
    assert (config_of(tmp_path / "out")["num_hidden_layers"], len(out)) == (2, 2 * 9 + 3)


def test_new_layers_are_stored_as_those_of_the_base(models: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", dtype="bfloat16")
    merged = (
        '{ method = "linear", bricks = [{ brick = "base", layers = [0, 3] }, { brick = "long", layers = [2, 5] }] }'
    )
    slices = f'{{ brick = "long", layers = [0, 3] }}, {merged}, {{ brick = "long", layers = [4, 5] }}'
    out = built({"base": base, "long": models["long"]}, stitch(slices), tmp_path / "out")
    assert {tensor.dtype for tensor in out.values()} == {torch.bfloat16}
    assert torch.equal(layer(out, 6)[UP], layer(weights(models["long"]), 4)[UP].bfloat16())


def test_one_of_several_towers_is_stitched_where_it_is_named(tmp_path: Path) -> None:
    towers = {"vision_tower.layers": "vision_config", "language_model.model.layers": "text_config"}
    tensors = {f"{tower}.{number}.w": torch.full((2, 2), float(number + 1)) for tower in towers for number in range(3)}
    (tmp_path / "base").mkdir()
    save_file({**tensors, "language_model.lm_head.weight": torch.ones(2)}, tmp_path / "base/model.safetensors")
    config = {section: {"num_hidden_layers": 3} for section in towers.values()}
    (tmp_path / "base/config.json").write_text(json.dumps(config))
    for tower, section in towers.items():
        slices = '{ brick = "base", layers = [2, 3] }, { brick = "base", layers = [1, 3], scale = [2.0, 3.0] }'
        out = built({"base": tmp_path / "base"}, stitch(slices, f', stack = "{tower}"'), tmp_path / section)
        assert [float(out[f"{tower}.{number}.w"][0, 0]) for number in range(3)] == [3.0, 4.0, 9.0]
        others = [name for name in tensors if not name.startswith(tower)]
        assert all(torch.equal(out[name], tensors[name]) for name in others)
        assert config_of(tmp_path / section) == config
    out = built(
        {"base": tmp_path / "base"},
        stitch('{ brick = "base", layers = [1, 2] }', f', stack = "{tower}"'),
        tmp_path / "o",
    )
    assert len(out) == 5
    assert config_of(tmp_path / "o") == {**config, "text_config": {"num_hidden_layers": 1}}


def test_threads_and_shards_change_no_tensor(models: dict[str, Path], tmp_path: Path) -> None:
    ties = '{ method = "ties", layers = [0, 3], density = 0.4, bricks = { one = 1.0, lora = 0.5 } }'
    apply = stitch(f'{ties}, {{ brick = "long", layers = [3, 5] }}')
    assert len({digest(text(models, apply), tmp_path / str(count), threads=count) for count in (1, 3)}) == 1
    whole, parts = (
        built(models, apply, tmp_path / name, said) for name, said in (("w", ""), ("p", 'shard-size = "90KB"'))
    )
    assert len([*(tmp_path / "p").glob("*.safetensors")]) > 2
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_what_was_built_says_every_default_and_the_plan_every_source(models: dict[str, Path], empty: Sandbox) -> None:
    slices = '{ brick = "base", layers = [0, 2] }, { method = "ties", layers = [1, 3], bricks = { one = 1.0 } }'
    empty.write({"brick.toml": text({alias: models[alias] for alias in ("base", "one")}, stitch(slices))})
    outline = empty.run("build", "t", "--dry-run")
    assert "18 of 39 tensors computed" in outline.out
    assert empty.run("build", "t").code == 0
    record = json.loads((empty.root / "dist/t/brick.build.json").read_text())
    (step,) = record["predicate"]["buildDefinition"]["externalParameters"]["apply"]
    alone = {"method": "passthrough", "scale": 1.0, "bricks": [{"brick": "base", "layers": [0, 2]}]}
    outside = {**alone, "bricks": [{"brick": "base"}]}
    assert (step["op"], step["before"], step["after"], step["slices"][0]) == ("stitch", outside, outside, alone)
    assert step["slices"][1]["bricks"] == [
        {"brick": "base", "layers": [1, 3]}, {"brick": "one", "density": 1.0, "weight": 1.0, "layers": [1, 3]},
    ]  # fmt: skip
    assert step["slices"][1]["divide"] == "weight"


def test_a_brick_with_more_layers_is_locked_where_only_its_layers_are_used(
    models: dict[str, Path], empty: Sandbox
) -> None:
    empty.write({"brick.toml": text(models, stitch(TWO))})
    assert empty.run("lock").code == 0
    merged = '{ op = "merge", method = "linear", bricks = { base = 1.0, long = 1.0 } }'
    empty.write({"brick.toml": text(models, stitch(TWO), more=f"\n[targets.u]\napply = [{merged}]")})
    (empty.root / "brick.lock").unlink()
    outcome = empty.run("lock")
    assert outcome.code == 1
    assert "it has `model.layers.3." in outcome.err
