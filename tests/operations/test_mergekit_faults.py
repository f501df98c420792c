"""What goes wrong without a word in mergekit, or what its users ask for: a merge is right, or there is an error."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from brickctl.errors import BrickctlError
from tests.support.building import build, digest, manifest, prepare
from tests.support.models import adapter, edit_config, edit_tensors, tiny_model, tuned, weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from tests.support.sandbox import Sandbox

HEAD = "model.layers.1.self_attn.q_proj.weight"
EMBEDDING = "model.embed_tokens.weight"
FILES = ("merges.txt", "chat_template.jinja", "tokenizer.model", "generation_config.json", "tokenizer.json")


def step(method: str, bricks: str = '["one"]', **options: object) -> str:
    """TOML of a merge step."""
    said = "".join(f"{key} = {json.dumps(value)}, " for key, value in options.items())
    return f'{{ op = "merge", method = "{method}", {said}bricks = {bricks} }}'


SUM = step("task_arithmetic", "{ one = 1.0 }")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(folder / "base")
    tuned(base, folder / "one", seed=1)
    tuned(base, folder / "two", seed=2)
    return folder


def text(models: Path, apply: str, one: Path | None = None, settings: str = "") -> str:
    """A manifest with two bricks, one of them perhaps another than usual."""
    return manifest(models / "base", {"one": one or models / "one", "two": models / "two"}, apply, settings)


def refusal(models: Path, one: Path, scratch: Path, apply: str = SUM) -> str:
    """What planning says of a brick; planning reads no weights."""
    with pytest.raises(BrickctlError) as caught:
        prepare(text(models, apply, one), scratch)
    return "\n".join((str(caught.value), *caught.value.causes, caught.value.hint or ""))


@pytest.mark.parametrize(
    ("wrong", "meant"), [("densty = 0.5", "density"), ("normalise = true", ""), ("lambda = 0.5", "")]
)
def test_a_key_that_the_method_does_not_have_is_an_error(wrong: str, meant: str, models: Path, tmp_path: Path) -> None:
    """Unknown keys are accepted and change nothing."""
    with pytest.raises(BrickctlError, match=re.escape(f"unknown key `{wrong.partition(' ')[0]}`")) as caught:
        prepare(text(models, f'{{ op = "merge", method = "ties", {wrong}, bricks = {{ one = 1.0 }} }}'), tmp_path)
    assert meant in (caught.value.hint or "")


@pytest.mark.parametrize("bricks", ['["base", "one"]', '["one", "base"]'])
def test_the_configuration_is_that_of_the_base_whatever_the_order(bricks: str, models: Path, tmp_path: Path) -> None:
    """Without a base, config.json comes from a random input."""
    one = edit_config(tuned(models / "base", tmp_path / "one"), "config.json", max_position_embeddings=512)
    made = build(text(models, step("karcher", bricks), one), tmp_path / "made")
    assert json.loads((made / "config.json").read_text()) == json.loads((models / "base/config.json").read_text())


@pytest.mark.parametrize(
    "apply",
    [
        step("slerp", '["base", "one"]', t=0.3),
        step("model_stock", '["one", "two"]'),
        step("della", "{ one = 0.4, two = 0.6 }", density=0.5),
    ],
)
def test_no_number_of_threads_changes_a_byte(apply: str, models: Path, tmp_path: Path) -> None:
    """Thread count changes bytes of slerp, model_stock, della."""
    made = {digest(text(models, apply), tmp_path / str(count), threads=count) for count in (1, 2, 4)}
    assert len(made) == 1


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della", "della_linear"])
def test_the_order_of_two_bricks_changes_no_mask(method: str, models: Path, tmp_path: Path) -> None:
    """One global random stream, so that swapping two models in the recipe changes every DARE mask."""
    bricks = ("{ one = 0.4, two = 0.6 }", "{ two = 0.6, one = 0.4 }")
    first, second = (
        digest(text(models, step(method, order, density=0.5)), tmp_path / str(at)) for at, order in enumerate(bricks)
    )
    assert first == second


def widened(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([tensor, tensor], dim=-1) if name == HEAD else tensor for name, tensor in tensors.items()}


def more_tokens(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([tensor, tensor]) if name == EMBEDDING else tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(("change", "name"), [(widened, HEAD), (more_tokens, EMBEDDING)])
@pytest.mark.parametrize("apply", [SUM, step("slerp", '["base", "one"]'), step("sce", '["one", "two"]')])
def test_another_shape_is_refused_before_a_weight_is_read(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], name: str, apply: str, models: Path, tmp_path: Path
) -> None:
    """A tensor whose shape differs is logged and left out; embeddings are cut to the smaller size."""
    one = edit_tensors(tuned(models / "base", tmp_path / "one"), change)
    assert f"`{name}`" in refusal(models, one, tmp_path, apply)


@pytest.mark.parametrize("method", ["ties", "breadcrumbs", "breadcrumbs_ties"])
def test_a_density_that_rounds_to_no_entry_keeps_one(method: str, models: Path, tmp_path: Path) -> None:
    """A density that rounds to 0 entries asserts, and `magnitude_outliers` with floor(gamma n) = 0 keeps nothing."""
    made = weights(build(text(models, step(method, "{ one = 1.0 }", density=1e-6)), tmp_path / "made"))
    base = weights(models / "base")
    assert {int((made[name] != base[name]).sum()) for name in base} == {1}


def test_bfloat16_models_are_summed_up_exactly_and_rounded_once(tmp_path: Path) -> None:
    """Arithmetic runs in `dtype`: with bfloat16 the deltas are bfloat16."""
    base = tiny_model(tmp_path / "base", dtype="bfloat16")
    for seed, name in enumerate(("one", "two")):
        tuned(base, tmp_path / name, seed=seed)
    made = weights(build(text(tmp_path, step("task_arithmetic", "{ one = 0.3, two = 0.4 }")), tmp_path / "made"))
    before, one, two = (weights(tmp_path / name) for name in ("base", "one", "two"))
    for name, tensor in before.items():
        wide, first, second = tensor.double(), one[name].double(), two[name].double()
        assert torch.equal(made[name], (wide + 0.3 * (first - wide) + 0.4 * (second - wide)).bfloat16())


@pytest.mark.parametrize(("settings", "dtype"), [("", torch.float32), ('dtype = "bfloat16"', torch.bfloat16)])
def test_tensors_are_written_in_the_type_that_was_asked_for(
    settings: str, dtype: torch.dtype, models: Path, tmp_path: Path
) -> None:
    """NaN and dtype (#604)."""
    made = build(text(models, SUM, settings=settings), tmp_path / "made")
    assert {tensor.dtype for tensor in weights(made).values()} == {dtype}
    config = json.loads((made / "config.json").read_text())
    assert config.get("dtype", config.get("torch_dtype")) == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("apply", [SUM, step("ties", "{ one = 1.0 }", density=0.1), step("slerp", '["base", "one"]')])
def test_what_is_no_number_is_refused_with_its_tensor(value: float, apply: str, models: Path, tmp_path: Path) -> None:
    """NaN and dtype (#609)."""

    def spoilt(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors[HEAD][0, 0] = value
        return tensors

    one = edit_tensors(tuned(models / "base", tmp_path / "one"), spoilt)
    with pytest.raises(BrickctlError, match=re.escape(HEAD)):
        build(text(models, apply, one), tmp_path / "made")


def test_every_file_beside_the_weights_of_the_base_is_carried(tmp_path: Path) -> None:
    """`merges.txt` and `chat_template.jinja` are not fetched; auxiliary files (#275, #105), tokenizers (#469)."""
    base = tiny_model(tmp_path / "base")
    for name in ("one", "two"):
        tuned(base, tmp_path / name)
    for name in FILES:
        (base / name).write_text(f'{{"of": "{name}"}}')
        (tmp_path / "one" / name).write_text("{}")
    made = build(text(tmp_path, SUM), tmp_path / "made")
    assert [(made / name).read_bytes() for name in FILES] == [(base / name).read_bytes() for name in FILES]


@pytest.mark.parametrize(
    "apply", [SUM, step("slerp", '["base", "one"]'), step("dare_ties", "{ one = 1.0 }", density=0.5)]
)
def test_tied_heads_stay_tied_and_no_phantom_head_appears(apply: str, tmp_path: Path) -> None:
    """Tied heads, phantom lm_head (#385, #390)."""
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    for name in ("one", "two"):
        tuned(base, tmp_path / name)
    made = build(text(tmp_path, apply), tmp_path / "made")
    assert weights(made).keys() == weights(base).keys()
    assert "lm_head.weight" not in weights(made)
    assert json.loads((made / "config.json").read_text())["tie_word_embeddings"] is True


def plain_model(folder: Path, names: tuple[str, ...], seed: int) -> Path:
    """A model of an architecture that nobody has a table of."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    save_file({name: torch.randn(4, 4, generator=generator) for name in names}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "nobody-knows-it"}')
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.attention.self.query.weight"),
        ("vision_tower.blocks.0.mlp.weight", "language_model.model.layers.0.mlp.weight"),
        ("down_blocks.0.resnets.0.conv1.weight", "transformer_blocks.0.attn.to_q.weight"),
    ],
)
def test_an_architecture_needs_no_table(names: tuple[str, ...], tmp_path: Path) -> None:
    """Unsupported or mis-detected architectures (#188, #614, #653); encoders (#286), VLMs (#434), diffusion (#433)."""
    for seed, folder in enumerate(("base", "one", "two")):
        plain_model(tmp_path / folder, names, seed)
    made = weights(build(text(tmp_path, step("linear", "{ one = 1.0, two = 3.0 }")), tmp_path / "made"))
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert set(made) == set(names)
    assert all(torch.allclose(made[name], (one[name] + 3.0 * two[name]) / 4.0) for name in names)


def test_a_quantised_model_is_refused_with_the_way_out(models: Path, tmp_path: Path) -> None:
    """Quantised in and out (#494, #75)."""
    one = tuned(models / "base", tmp_path / "one")
    edit_config(one, "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    said = refusal(models, one, tmp_path)
    assert "quanti" in said
    assert said.splitlines()[-1] == "use the bf16 or fp32 release of the model"


def test_an_adapter_is_an_input_of_every_kind_of_merge(models: Path, tmp_path: Path) -> None:
    """LoRA inputs (#442)."""
    one = adapter(models / "base", tmp_path / "one")
    for at, apply in enumerate((step("ties", "{ one = 1.0, two = 1.0 }"), step("karcher", '["one", "two"]'))):
        made = weights(build(text(models, apply, one), tmp_path / str(at)))
        assert made.keys() == weights(models / "base").keys()
        assert not torch.equal(made[HEAD], weights(models / "base")[HEAD])


def test_with_a_gradient_the_final_norm_and_the_head_get_the_last_value(models: Path, tmp_path: Path) -> None:
    """Config semantics (#378, #348): with a gradient, lm_head gets the *first* value, as the embeddings do."""
    made = weights(build(text(models, step("task_arithmetic", "{ one = [0.0, 1.0] }")), tmp_path / "made"))
    base, one = weights(models / "base"), weights(models / "one")
    assert torch.equal(made[EMBEDDING], base[EMBEDDING])
    assert all(torch.equal(made[name], one[name]) for name in ("lm_head.weight", "model.norm.weight"))


def test_what_was_built_says_its_seed_and_every_default(models: Path, empty: Sandbox) -> None:
    """No lock, checksum, resume, atomic output, provenance; seed and flags are not recorded."""
    apply = step("dare_ties", "{ one = 0.4, two = 0.6 }", density=0.5, seed=7)
    empty.write({"brick.toml": text(models, apply)})
    assert empty.run("build", "t").code == 0
    record = json.loads((empty.root / "dist/t/brick.build.json").read_text())
    (recorded,) = record["predicate"]["buildDefinition"]["externalParameters"]["apply"]
    assert {key: recorded[key] for key in ("seed", "rescale", "divide", "scale")} == {
        "seed": 7, "rescale": "l1", "divide": "weight", "scale": 1.0,
    }  # fmt: skip


def test_a_folder_that_held_another_model_holds_only_the_new_one(models: Path, empty: Sandbox) -> None:
    """Output into a used folder: mergekit reads the old index, transformers the new file."""
    made = empty.root / "dist/t"
    for settings, sharded in (('shard-size = "100KB"', True), ("", False)):
        empty.write({"brick.toml": text(models, SUM, settings=settings)})
        outcome = empty.run("build", "t")
        assert outcome.code == 0, outcome.err
        assert (made / "model.safetensors.index.json").exists() is sharded
        assert len([*made.glob("*.safetensors")]) == (2 if sharded else 1)
