"""What PEFT gets wrong without a word: here it is right, or refused with the reason. One test for each failure.

Where PEFT's answer is wrong the test shows that too, so that a PEFT that mends it is noticed. The right answer is what
PEFT computes without merging, or the sum of the deltas of adapters that are merged one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import PeftModel

from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from tests.support.adapters import adapter_of
from tests.support.building import build, manifest, prepare, sum_of
from tests.support.models import (
    adapter,
    edit_config,
    edit_tensors,
    load,
    load_with_adapter,
    logits,
    merged_by_peft,
    quietly,
    tiny_model,
    weights,
    worst_ratio,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

RIGHT = 1e-6
WRONG = 1e-2


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "base")


def ours(base: Path, scratch: Path, bricks: dict[str, Path], **weighted: float) -> dict[str, Tensor]:
    return weights(build(manifest(base, bricks, sum_of(**weighted)), scratch / "built"))


def theirs(base: Path, bricks: dict[str, Path], weighted: list[float], **settings: Any) -> dict[str, Tensor]:
    """`add_weighted_adapter`, merged."""

    def combine() -> dict[str, Tensor]:
        (first, folder), *others = bricks.items()
        model = PeftModel.from_pretrained(load(base), folder, adapter_name=first)
        for name, other in others:
            model.load_adapter(other, adapter_name=name)
        model.add_weighted_adapter(list(bricks), weighted, adapter_name="sum", **settings)
        model.set_adapter("sum")
        return dict(model.merge_and_unload().state_dict())

    found: dict[str, Tensor] = quietly(combine)
    return found


def sum_of_deltas(base: Path, bricks: dict[str, Path], weighted: list[float]) -> dict[str, Tensor]:
    before = {name: tensor.double() for name, tensor in weights(base).items()}
    total = dict(before)
    for folder, weight in zip(bricks.values(), weighted, strict=True):
        merged = merged_by_peft(base, folder)
        total = {name: total[name] + weight * (merged[name].double() - before[name]) for name in total}
    return total


def delta_error(found: dict[str, Tensor], expected: dict[str, Tensor], base: Path) -> float:
    """The largest difference of the deltas, relative to the largest delta."""
    before = weights(base)
    apart = max(float((found[name].double() - expected[name]).abs().max()) for name in before)
    return apart / max(float((expected[name] - before[name].double()).abs().max()) for name in before)


def refused(base: Path, brick: Path, error: type[Exception], *words: str) -> None:
    with pytest.raises(error) as caught:
        prepare(manifest(base, {"a": brick}, sum_of(a=1)), brick.parent)
    for word in words:
        assert word in str(caught.value)


def test_keys_that_no_module_asks_for(base: Path, tmp_path: Path) -> None:
    brick = adapter(base, tmp_path / "a")
    strange = "base_model.model.model.layers.0.self_attn.z_proj.lora_A.weight"
    edit_tensors(brick, lambda found: {**found, strange: torch.zeros(4, 32)})
    assert merged_by_peft(base, brick), "PEFT says nothing"
    refused(base, brick, Misfit, "z_proj")


def test_a_wrong_prefix_that_leaves_the_base_as_it_was(base: Path, tmp_path: Path) -> None:
    brick = adapter(base, tmp_path / "a")
    edit_tensors(brick, lambda found: {key.replace("base_model.model.", "model."): one for key, one in found.items()})
    assert worst_ratio(weights(base), merged_by_peft(base, brick)) == 0, "PEFT gives the bare base"
    refused(base, brick, Misfit, "PEFT would drop without a word")


@pytest.mark.parametrize("together", [False, True])
def test_lora_on_tied_embeddings(together: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a setting of PEFT
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    brick = adapter(base, tmp_path / "a", target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=together)
    expected = logits(load_with_adapter(base, brick))
    built = build(manifest(base, {"a": brick}, sum_of(a=1)), tmp_path / "built")
    torch.testing.assert_close(logits(load(built)), expected, rtol=0, atol=2e-5)
    merged = quietly(load_with_adapter(base, brick).merge_and_unload)
    assert float((logits(merged) - expected).abs().max()) > WRONG, "PEFT's own merge is right: tell the facts"


def test_layer_replication(base: Path, tmp_path: Path) -> None:
    brick = adapter(base, tmp_path / "a", layer_replication=[[0, 2], [1, 3]])
    refused(base, brick, Unsupported, "layer_replication")


def test_a_base_with_fewer_layers(base: Path, tmp_path: Path) -> None:
    deep = tiny_model(tmp_path / "deep", num_hidden_layers=4)
    brick = adapter(deep, tmp_path / "a")
    assert merged_by_peft(base, brick), "PEFT says nothing"
    refused(base, brick, Misfit, "it changes `model.layers.3.", "which the base does not have")


@pytest.mark.parametrize("settings", [{"use_rslora": True}, {"use_dora": True}], ids=["rslora", "dora"])
def test_weighted_adapters_whose_scale_is_not_alpha_over_r(
    settings: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    bricks = {name: adapter(base, tmp_path / name, seed=ord(name), **settings) for name in "ab"}
    expected = sum_of_deltas(base, bricks, [1.0, 0.0])
    assert delta_error(ours(base, tmp_path, bricks, a=1.0, b=0.0), expected, base) < 1e-5
    assert delta_error(theirs(base, bricks, [1.0, 0.0]), expected, base) > WRONG


def test_modules_that_were_saved_whole(base: Path, tmp_path: Path) -> None:
    bricks = {name: adapter(base, tmp_path / name, seed=ord(name), modules_to_save=["lm_head"]) for name in "ab"}
    expected = sum_of_deltas(base, bricks, [0.5, 0.25])
    assert delta_error(ours(base, tmp_path, bricks, a=0.5, b=0.25), expected, base) < 1e-5


def test_a_sum_of_adapters_is_not_a_sum_of_factors(base: Path, tmp_path: Path) -> None:
    """`linear` adds A and B apart, with square roots of the weights; `cat` is right."""
    bricks = {name: adapter(base, tmp_path / name, seed=ord(name)) for name in "ab"}
    expected = sum_of_deltas(base, bricks, [0.5, 0.5])
    assert delta_error(ours(base, tmp_path, bricks, a=0.5, b=0.5), expected, base) < 1e-5
    assert delta_error(theirs(base, bricks, [0.5, 0.5], combination_type="linear"), expected, base) > WRONG
    assert delta_error(theirs(base, bricks, [0.5, 0.5], combination_type="cat"), expected, base) < 1e-4


def test_a_list_of_weights_that_is_too_short(base: Path, tmp_path: Path) -> None:
    """A weight stands beside its brick here, so none can be missing without a word; on the command line N or none."""
    bricks = {name: adapter(base, tmp_path / name, seed=ord(name)) for name in "ab"}
    step = '{ op = "merge", method = "task_arithmetic", bricks = ["a", "b"], weights = [1.0] }'
    with pytest.raises(ManifestInvalid):
        prepare(manifest(base, bricks, step), tmp_path)


def test_a_name_that_is_there_already(base: Path, tmp_path: Path) -> None:
    brick = adapter(base, tmp_path / "a")
    text = manifest(base, {"a": brick}, sum_of(a=1)).replace(
        "[targets.t]", f'a = {{ source = "path:{brick}" }}\n[targets.t]'
    )
    with pytest.raises(ManifestInvalid, match="is not TOML"):
        prepare(text, tmp_path)


def test_weighted_adapters_in_bf16_on_a_processor(tmp_path: Path) -> None:
    """Where `svd` fails, as LAPACK has no bf16."""
    base = tiny_model(tmp_path / "base", dtype="bfloat16")
    bricks = {name: adapter(base, tmp_path / name, seed=ord(name)) for name in "ab"}
    exact = sum_of_deltas(base, bricks, [0.5, 0.5])
    assert worst_ratio(ours(base, tmp_path, bricks, a=0.5, b=0.5), exact) < 2**-7


def test_a_field_of_a_newer_peft(base: Path, tmp_path: Path) -> None:
    brick = edit_config(adapter(base, tmp_path / "a"), use_something_new=True)
    assert merged_by_peft(base, brick), "PEFT warns and goes on"
    refused(base, brick, Unsupported, "use_something_new", "newer PEFT")


def test_arrow_which_saves_but_does_not_load_again(base: Path, tmp_path: Path) -> None:
    brick = edit_config(adapter(base, tmp_path / "a"), arrow_config={"top_k": 2})
    refused(base, brick, Unsupported, "Arrow", "does not save")


def test_an_initialisation_that_changes_the_base(base: Path, tmp_path: Path) -> None:
    brick = adapter(base, tmp_path / "a", init_lora_weights="pissa")
    refused(base, brick, Unsupported, "pissa", "path_initial_model_for_weight_conversion")


def test_random_matrices_that_are_not_in_the_file(base: Path, tmp_path: Path) -> None:

    brick = adapter_of("VERA", base, tmp_path / "a", save_projection=False)
    refused(base, brick, Unsupported, "save_projection")
