"""Two models, tensor by tensor: what is said of each is what was done to it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.errors import NotFound, UsageFault
from brickctl.tensors.executor import Budget
from brickctl.workflows.comparing.compare import BrickDifference, compare
from brickctl.workflows.comparing.models import ModelDifference
from brickctl.workflows.comparing.sides import Desk
from brickctl.workflows.lock import LockMode
from tests.support.models import adapter, edit_config, edit_tensors, tiny_model, tuned, weights
from tests.support.projects import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

Q, NORM, EMBEDDING = "model.layers.1.self_attn.q_proj.weight", "model.norm.weight", "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "base", dtype="bfloat16")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))


def desk(model: Path | None = None) -> Desk:
    reference = None if model is None else str(model)
    return Desk(session=None, mode=LockMode.REFRESH, budget=Budget(threads=1), base=reference, events=Listener())


def differ(before: Path, after: Path, model: Path | None = None) -> ModelDifference:
    found = compare(str(before), str(after), desk(model))
    assert isinstance(found, ModelDifference)
    return found


def edited(base: Path, folder: Path, change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> Path:
    return edit_tensors(shutil.copytree(base, folder), lambda tensors: {**tensors, **change(tensors)})


def test_what_is_the_same_file_is_not_read_and_what_holds_the_same_numbers_is_equal(base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(base, tmp_path / "copy")
    other = edited(base, tmp_path / "other", lambda _: {"model.unused": torch.ones(2)})
    for after in (copy, other):
        assert differ(base, after).same == len(weights(base))
    assert differ(base, copy).is_equal
    assert [one.what for one in differ(base, other).tensors] == ["added"]


def test_a_tensor_that_changed_is_told_with_how_far_and_how_many_directions(base: Path, tmp_path: Path) -> None:
    step = torch.zeros(weights(base)[Q].shape)
    step[:2, :2] = torch.eye(2) * 4.0
    after = edited(base, tmp_path / "after", lambda tensors: {Q: (tensors[Q].float() + step).bfloat16()})
    (only,) = differ(base, after).tensors
    before, now = weights(base)[Q].double(), weights(after)[Q].double()
    assert (only.name, only.what) == (Q, "changed")
    assert only.figures is not None
    assert only.figures.relative == pytest.approx(float((now - before).norm() / before.norm()))
    assert only.figures.changed == 2
    assert only.stable_rank == pytest.approx(2.0, rel=0.01)
    assert differ(base, after).total == only.figures


def test_tensors_that_came_went_or_have_another_shape_or_type(base: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        del tensors[NORM]
        return {**tensors, Q: tensors[Q][:3].clone(), EMBEDDING: tensors[EMBEDDING].float(), "model.new": torch.ones(1)}

    after = edit_tensors(shutil.copytree(base, tmp_path / "after"), change)
    found = differ(base, after)
    whats = {one.name: one.what for one in found.tensors}
    assert whats == {EMBEDDING: "retyped", Q: "reshaped", NORM: "removed", "model.new": "added"}
    (retyped,) = [one for one in found.tensors if one.what == "retyped"]
    assert retyped.figures is not None
    assert retyped.figures.is_equal


def test_layers_sum_up_their_tensors(base: Path, tmp_path: Path) -> None:
    found = differ(base, tuned(base, tmp_path / "tuned"))
    assert [one.layer for one in found.layers] == [None, 0, 1, 2]
    assert sum(one.tensors for one in found.layers) == len(weights(base))
    assert sum(one.figures.square for one in found.layers) == pytest.approx(found.total.square)
    assert found.same == 0


def test_an_adapter_is_the_model_that_it_makes_of_its_base(base: Path, tmp_path: Path) -> None:
    brick = adapter(base, tmp_path / "adapter", target_modules=["q_proj"], r=2)
    found = differ(base, brick, base)
    assert [one.what for one in found.tensors] == ["changed"] * 3
    assert all(one.stable_rank is not None and 1.0 <= one.stable_rank <= 2.0 for one in found.tensors)
    assert (found.files, found.keys) == ((), ())
    shutil.copy(base / "config.json", brick)  # as trainers leave it there
    assert differ(base, brick, base).tensors == found.tensors


def test_two_adapters_are_compared_by_what_they_do_and_an_adapter_needs_a_base(base: Path, tmp_path: Path) -> None:
    names = [str(adapter(base, tmp_path / name, seed=seed, r=2)) for seed, name in enumerate("xy", 2)]
    found = compare(*names, desk(base))
    assert isinstance(found, BrickDifference)
    assert not found.is_equal
    same = compare(names[0], names[0], desk(base))
    assert same.is_equal
    with pytest.raises(UsageFault, match="depends on its base") as raised:
        compare(*names, desk())
    assert "--base" in str(raised.value)


def test_configurations_are_compared_key_by_key_and_other_files_by_their_digests(base: Path, tmp_path: Path) -> None:
    after = shutil.copytree(base, tmp_path / "after")
    edit_config(after, "config.json", rms_norm_eps=0.5, rope_theta=None, extra={"deep": [1]})
    (after / "tokenizer.json").write_text("{}")
    found = differ(base, after)
    changed = {(one.path, one.what) for one in found.files}
    assert ("config.json", "changed") in changed
    assert ("tokenizer.json", "changed" if (base / "tokenizer.json").exists() else "added") in changed
    keys = {one.key: (one.what, one.before, one.after) for one in found.keys if one.path == "config.json"}
    assert keys["rms_norm_eps"][::2] == ("changed", 0.5)
    assert keys["extra.deep"] == ("added", None, [1])
    assert not found.is_equal
    json.dumps(found.document(), allow_nan=False)


def test_stacks_with_other_adapters_are_not_equal(base: Path, tmp_path: Path) -> None:
    stacks = [shutil.copytree(base, tmp_path / name) for name in "ab"]
    for number, stack in enumerate(stacks):
        (stack / "adapters/x").mkdir(parents=True)
        (stack / "adapters/x/adapter_model.safetensors").write_bytes(bytes([number]))
    assert differ(stacks[0], stacks[0]).is_equal
    found = differ(*stacks)
    assert [(one.path, one.what) for one in found.files] == [("adapters/x/adapter_model.safetensors", "changed")]
    assert not found.is_equal
    assert [one.what for one in differ(base, stacks[0]).files] == ["added"]


def test_numbers_that_are_none_are_told_and_stop_nothing(base: Path, tmp_path: Path) -> None:
    after = edited(base, tmp_path / "after", lambda tensors: {Q: torch.full_like(tensors[Q], float("nan"))})
    (only,) = differ(base, after).tensors
    assert only.figures is not None
    assert only.figures.unknown == only.figures.elements
    assert only.stable_rank is None
    json.dumps(only.document(), allow_nan=False)


def test_a_name_without_a_project_is_taken_for_no_folder(base: Path) -> None:
    with pytest.raises(NotFound, match="no project here") as raised:
        compare("model", str(base), desk())
    assert "`./model`" in str(raised.value)
