"""Experts: full fine-tunes of the base, with exactly its tensors."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.core.brick import Brick, Contents, Pin
from brickctl.core.digests import Sha256
from brickctl.core.dtypes import DType
from brickctl.core.model import LazyModel
from brickctl.core.nodes import Stored
from brickctl.core.regions import Spec
from brickctl.errors import BrickctlError, Misfit, Unsupported
from brickctl.kinds.expert import ExpertKind
from tests.support.building import build, manifest, prepare, sum_of
from tests.support.models import edit_config, edit_tensors, tiny_model, tuned, weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "base", dtype="bfloat16")


@pytest.fixture
def expert(base: Path, tmp_path: Path) -> Path:
    return tuned(base, tmp_path / "expert")


def refused(error: type[BrickctlError], base: Path, expert: Path, *words: str) -> None:
    with pytest.raises(error) as caught:
        prepare(manifest(base, {"sql": expert}, sum_of(sql=1.0)), expert.parent)
    for word in ("sql", *words):
        assert word in str(caught.value)


def test_an_expert_of_weight_one_is_the_expert_bit_for_bit(base: Path, expert: Path, tmp_path: Path) -> None:
    built = weights(build(manifest(base, {"sql": expert}, sum_of(sql=1.0)), tmp_path / "built"))
    assert all(torch.equal(built[name], tensor) for name, tensor in weights(expert).items())


def test_half_an_expert_is_the_middle_rounded_once(base: Path, expert: Path, tmp_path: Path) -> None:
    built = weights(build(manifest(base, {"sql": expert}, sum_of(sql=0.5)), tmp_path / "built"))
    before, after = weights(base)[NAME].double(), weights(expert)[NAME].double()
    assert torch.equal(built[NAME], ((before + after) / 2).bfloat16())


def test_an_expert_in_another_type_keeps_its_precision_until_the_end(base: Path, tmp_path: Path) -> None:
    wide = edit_tensors(tuned(base, tmp_path / "wide"), lambda found: {k: t.float() + 1e-5 for k, t in found.items()})
    settings = 'dtype = "float32"'
    built = weights(build(manifest(base, {"sql": wide}, sum_of(sql=1.0), settings), tmp_path / "built"))
    assert all(torch.equal(built[name], tensor) for name, tensor in weights(wide).items())


def test_tensors_that_did_not_change_are_not_computed(base: Path, tmp_path: Path) -> None:
    """A file that equals the base's has the same digest, so that every tensor is the same node."""
    twin = tuned(base, tmp_path / "twin", names=lambda _: False)
    assert (twin / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    plan = prepare(manifest(base, {"sql": twin}, sum_of(sql=1.0), 'shard-size = "5GB"'), tmp_path).plan
    assert {type(node).__name__ for node in plan.nodes().values()} == {"Stored"}


def test_another_shape_is_refused_with_both(base: Path, expert: Path) -> None:
    edit_tensors(expert, lambda found: {**found, NAME: torch.zeros(47, 32)})
    refused(Misfit, base, expert, f"`{NAME}` has shape [47, 32]; the base has [48, 32]", "brick.toml line 6")


def test_a_tensor_too_many_is_refused(base: Path, expert: Path) -> None:
    edit_tensors(expert, lambda found: {**found, NAME.replace("1", "7"): torch.zeros(1)})
    refused(Misfit, base, expert, "`model.layers.7.mlp.up_proj.weight`, which the base does not have", "was tuned from")


def test_a_tensor_too_few_is_refused(base: Path, expert: Path) -> None:
    edit_tensors(expert, lambda found: {name: tensor for name, tensor in found.items() if name != NAME})
    refused(Misfit, base, expert, f"the base has `{NAME}` and `sql` does not")


@pytest.mark.parametrize("side", ["base", "expert"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused_on_either_side(side: str, dtype: torch.dtype, base: Path, expert: Path) -> None:
    edit_tensors({"base": base, "expert": expert}[side], lambda found: {**found, NAME: found[NAME].to(dtype)})
    with pytest.raises(Unsupported, match="quantised weights cannot be merged") as caught:
        prepare(manifest(base, {"sql": expert}, sum_of(sql=1.0)), expert.parent)
    assert f"`{NAME}` of `{'base' if side == 'base' else 'sql'}`" in str(caught.value)


PACKED = NAME.replace(".weight", ".qweight")


def packed(seed: int) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """The weight of one module as GPTQ packs it: integers of 32 bits."""
    numbers = torch.arange(seed, seed + 96, dtype=torch.int32)
    return lambda found: {**{name: tensor for name, tensor in found.items() if name != NAME}, PACKED: numbers}


def test_weights_packed_into_wide_integers_are_refused(base: Path, expert: Path) -> None:
    edit_tensors(base, packed(0))
    edit_tensors(expert, packed(7))
    refused(Unsupported, base, expert, "quantised weights cannot be merged", f"`{PACKED}` of `sql` is stored as I32")


@pytest.mark.parametrize("side", ["base", "expert"])
def test_integers_on_one_side_only_are_refused(side: str, base: Path, expert: Path) -> None:
    edit_tensors({"base": base, "expert": expert}[side], lambda found: {**found, NAME: found[NAME].to(torch.int64)})
    refused_as = {"base": "base", "expert": "sql"}[side]
    with pytest.raises(Unsupported, match=f"`{NAME}` of `{refused_as}` is stored as I64"):
        prepare(manifest(base, {"sql": expert}, sum_of(sql=1.0)), expert.parent)


@pytest.mark.parametrize("side", ["base", "expert"])
def test_a_configuration_that_speaks_of_quantised_weights_is_refused(side: str, base: Path, expert: Path) -> None:
    folder = {"base": base, "expert": expert}[side]
    edit_config(folder, "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    with pytest.raises(Unsupported, match="quantised weights cannot be merged") as caught:
        prepare(manifest(base, {"sql": expert}, sum_of(sql=1.0)), expert.parent)
    assert "has a `quantization_config`" in str(caught.value)
    assert "bf16" in (caught.value.hint or "")


def test_an_expert_of_very_many_tensors_is_compared_in_a_moment() -> None:
    spec = Spec(DType.F32, (1,))
    tensors = {f"layers.{number}": Stored(spec, blob=Sha256("0" * 64), offset=0) for number in range(30_000)}
    contents = Contents(documents={"config.json": {}}, tensors=tensors)
    brick = Brick(name="sql", kind="expert", pin=Pin(source="path:sql", files=()), contents=contents)
    begin = time.perf_counter()
    assert ExpertKind().changes(brick, LazyModel(config={}, tensors=tensors)) == {}
    assert time.perf_counter() - begin < 2


def test_a_base_without_a_configuration_is_refused(base: Path, expert: Path) -> None:
    (base / "config.json").unlink()
    with pytest.raises(Misfit, match="`base` is not a whole model") as caught:
        prepare(manifest(base, {"sql": expert}, sum_of(sql=1.0)), expert.parent)
    assert "it has no config.json" in str(caught.value)


def test_a_base_that_is_an_adapter_is_refused(base: Path, expert: Path) -> None:
    (base / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    with pytest.raises(Misfit, match="`base` is not a whole model") as caught:
        prepare(manifest(base, {"sql": expert}, sum_of(sql=1.0)), expert.parent)
    assert "makes it an adapter" in str(caught.value)


def test_buffers_of_integers_stay_those_of_the_base(base: Path, tmp_path: Path) -> None:
    edit_tensors(base, lambda found: {**found, "position_ids": torch.arange(64)})
    expert = tuned(base, tmp_path / "expert", names=lambda name: name == NAME)
    edit_tensors(expert, lambda found: {**found, "position_ids": torch.zeros(64, dtype=torch.int64)})
    built = weights(build(manifest(base, {"sql": expert}, sum_of(sql=1.0)), tmp_path / "built"))
    assert torch.equal(built["position_ids"], torch.arange(64))


def test_an_expert_that_unties_what_the_base_ties_unties_the_result(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    expert = tuned(base, tmp_path / "expert")
    head = torch.ones(96, 32)
    edit_config(
        edit_tensors(expert, lambda found: {**found, "lm_head.weight": head}), "config.json", tie_word_embeddings=False
    )
    built = build(manifest(base, {"sql": expert}, sum_of(sql=1.0)), tmp_path / "built")
    torch.testing.assert_close(weights(built)["lm_head.weight"], head)
    assert json.loads((built / "config.json").read_text())["tie_word_embeddings"] is False


def test_a_brick_of_no_kind_says_what_it_has(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    refused(Misfit, base, folder, "it has no configuration file", "an adapter has adapter_config.json")
