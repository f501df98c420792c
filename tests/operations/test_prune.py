"""Pruned models against dense ones whose other neurons were taken out, or silenced, by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.analysis.load import unmatched_keys
from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from tests.support.building import build, digest, manifest, prepare, sum_of
from tests.support.models import edit_config, edit_tensors, load, logits, tiny_model, tuned, weights
from tests.support.neurons import partition

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

GROUPS, SHARED = 4, 8
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", {}),
    "Llama, tied": ("llama", {"tie_word_embeddings": True}),
    "Llama, biases": ("llama", {"mlp_bias": True, "attention_bias": True}),
    "Mistral": ("mistral", {"sliding_window": 5}),
    "Qwen2": ("qwen2", {}),
    "Qwen3": ("qwen3", {"head_dim": 16}),
}


def prune(which: str = "groups = [1, 3]", brick: str = "g") -> str:
    return f'{{ op = "prune", brick = "{brick}", {which} }}'


def text(base: Path, brick: Path, apply: str, settings: str = "", **more: Path) -> str:
    return manifest(base, {"g": brick, **more}, apply, settings)


def neurons(brick: Mapping[str, Tensor], layer: int, groups: list[int]) -> list[int]:
    """The neurons that stay, ascending."""
    order = brick[f"model.layers.{layer}.mlp.order"].long()
    members = order[SHARED:].reshape(GROUPS, -1)
    return sorted([*order[:SHARED].tolist(), *members[groups].flatten().tolist()])


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("prune") / "base")


@pytest.fixture(scope="module")
def labelled(llama: Path) -> Path:
    return partition(
        llama, llama.with_name("g"), groups=GROUPS, shared=SHARED, labels=["code", "prose"], bricks=["sql"]
    )


@pytest.mark.parametrize("name", BASES)
def test_the_pruned_model_says_what_the_dense_one_says_with_the_others_silenced(name: str, tmp_path: Path) -> None:
    architecture, settings = BASES[name]
    base = tiny_model(tmp_path / "base", architecture, **settings)
    brick = partition(base, tmp_path / "g", groups=GROUPS, shared=SHARED)
    out = build(text(base, brick, prune()), tmp_path / "out")
    assert unmatched_keys(out) == ()
    model, found = load(base), weights(brick)
    for number, layer in enumerate(model.model.layers):
        silent = torch.ones(48, dtype=torch.bool)
        silent[neurons(found, number, [1, 3])] = False
        layer.mlp.down_proj.weight.data[:, silent] = 0
    assert (logits(load(out)) - logits(model)).abs().max() < 1e-5


def test_what_stays_are_rows_and_columns_of_the_dense_model(llama: Path, labelled: Path, tmp_path: Path) -> None:
    found, dense = weights(build(text(llama, labelled, prune()), tmp_path)), weights(llama)
    assert list(found) == list(dense)
    for layer in range(3):
        ffn = f"model.layers.{layer}.mlp"
        kept = neurons(weights(labelled), layer, [1, 3])
        assert len(kept) == 8 + 2 * 10
        for part in ("gate_proj", "up_proj"):
            assert torch.equal(found[f"{ffn}.{part}.weight"], dense[f"{ffn}.{part}.weight"][kept])
        assert torch.equal(found[f"{ffn}.down_proj.weight"], dense[f"{ffn}.down_proj.weight"][:, kept])
    assert all(torch.equal(found[name], dense[name]) for name in dense if ".mlp." not in name)


def test_config_json_says_how_wide_it_is_and_nothing_else_changes(llama: Path, labelled: Path, tmp_path: Path) -> None:
    out = build(text(llama, labelled, prune()), tmp_path)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (llama, out))
    assert after == {**before, "intermediate_size": 28}


MASS = {
    "code": [[0.1, 0.4, 0.2, 0.3], [0.3, 0.2, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]],
    "prose": [[0.7, 0.1, 0.1, 0.1], [0.0, 0.0, 0.6, 0.4], [0.25, 0.25, 0.25, 0.25]],
    "sql": [[0.1, 0.1, 0.5, 0.3], [0.3, 0.3, 0.3, 0.1], [0.3, 0.1, 0.1, 0.5]],
}


@pytest.fixture
def weighed(labelled: Path, tmp_path: Path) -> Path:
    """The partition with shares that a reader can check."""
    brick = tmp_path / "weighed"
    brick.mkdir()
    for file in labelled.iterdir():
        (brick / file.name).write_bytes(file.read_bytes())
    mass = {
        f"model.layers.{layer}.mlp.mass": torch.tensor([rows[layer] for rows in MASS.values()]) for layer in range(3)
    }
    return edit_tensors(brick, lambda found: {**found, **mass})


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ('keep = 2, labels = ["code"]', [[1, 3], [0, 3], [0, 1]]),
        ('keep = 2, labels = ["prose"]', [[0, 1], [2, 3], [0, 1]]),
        ('keep = 2, labels = ["prose", "code"]', [[0, 1], [2, 3], [0, 1]]),
        ('keep = 3, by = "mass"', [[0, 1, 3], [0, 2, 3], [0, 1, 2]]),
        ('keep = 4, labels = ["code"]', [[0, 1, 2, 3]] * 3),
        ('keep = 2, bricks = ["sql"]', [[2, 3], [0, 1], [0, 3]]),
        ('keep = 2, bricks = ["sql"], labels = ["prose"]', [[0, 2], [2, 3], [0, 3]]),
    ],
)
def test_the_groups_stay_that_put_out_most_for_the_labels(
    which: str, expected: list[list[int]], llama: Path, weighed: Path, tmp_path: Path
) -> None:
    """Each FFN keeps as many, but its own; of those that carry as much the first ones."""
    found, dense = weights(build(text(llama, weighed, prune(which)), tmp_path / "out")), weights(llama)
    for layer, groups in enumerate(expected):
        name = f"model.layers.{layer}.mlp.up_proj.weight"
        assert torch.equal(found[name], dense[name][neurons(weights(weighed), layer, groups)])


def test_it_tells_what_is_left_and_what_that_carries(llama: Path, weighed: Path, tmp_path: Path) -> None:
    notes = prepare(text(llama, weighed, prune('keep = 2, labels = ["code"]')), tmp_path).artifact.notes
    assert notes == (
        "28 of 48 neurons of each FFN are left",
        "the groups that stay carry 60% of what all groups put out for code",  # (0.7 + 0.6 + 0.5) / 3
        "the groups that stay carry 37% of what all groups put out for prose",  # (0.2 + 0.4 + 0.5) / 3
        "the groups that stay carry 40% of what all groups put out with `sql` on the base",  # (0.4 + 0.4 + 0.4) / 3
    )


def test_a_merged_model_can_be_pruned_in_the_same_target(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", dtype="bfloat16")
    one = tuned(base, tmp_path / "one")
    brick = partition(base, tmp_path / "g", groups=GROUPS, shared=SHARED)
    both = build(text(base, brick, f"{sum_of(one=0.5)}, {prune()}", one=one), tmp_path / "both")
    more = f'[targets.s]\nfrom = {{ target = "t" }}\napply = [{prune()}]'
    after = build(manifest(base, {"g": brick, "one": one}, sum_of(one=0.5), "", more), tmp_path / "after", "s")
    wanted = weights(after)
    assert {tensor.dtype for tensor in wanted.values()} == {torch.bfloat16}
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in weights(both).items())


def test_the_bytes_are_the_same_however_it_is_built(llama: Path, labelled: Path, tmp_path: Path) -> None:
    wanted = digest(text(llama, labelled, prune()), tmp_path / "out")
    for budget in ({"threads": 1}, {"threads": 4}, {"memory": 4 << 20}):
        assert digest(text(llama, labelled, prune()), tmp_path / "out", **budget) == wanted


def test_all_groups_are_the_dense_model(llama: Path, labelled: Path, tmp_path: Path) -> None:
    out = build(text(llama, labelled, prune("groups = [3, 2, 1, 0]")), tmp_path / "out")
    assert (out / "model.safetensors").read_bytes() == (llama / "model.safetensors").read_bytes()


def refused(base: Path, brick: Path, apply: str, scratch: Path, **more: Path) -> str:
    with pytest.raises((ManifestInvalid, Misfit, Unsupported)) as caught:
        prepare(text(base, brick, apply, **more), scratch)
    return str(caught.value)


WHICH = "a prune needs to be told which groups stay"
ADAPTED = '{ op = "merge", method = "task_arithmetic", bricks = { one = 1.0 } }'
TURNED = '{ op = "stitch", slices = [{ brick = "base", layers = [1, 3] }, { brick = "base", layers = [0, 1] }] }'


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (prune("keep = 2"), "a prune needs to be told what counts"),
        (prune('labels = ["code"]'), WHICH),
        (prune('keep = 2, groups = [1], labels = ["code"]'), WHICH),
        (prune('groups = [1], by = "mass"'), WHICH),
        (prune('keep = 2, by = "size"'), "a prune needs to be told what counts"),
        (prune('keep = 2, by = "mass", labels = ["code"]'), "a prune needs to be told what counts"),
        (prune('keep = 0, by = "mass"'), "`keep` must be at least 1"),
        (prune('keep = 5, by = "mass"'), "`g` does not have 5 groups"),
        (prune("groups = [1, 4]"), "`g` does not have group 4"),
        (prune("groups = [1, 1]"), "`groups` is a list of numbers from 0 on, each once"),
        (prune("groups = []"), "`groups` is a list of numbers from 0 on, each once"),
        (prune('groups = ["1"]'), "`groups` is a list of numbers from 0 on, each once"),
        (prune('keep = 2, labels = ["law"]'), "`g` knows no label `law`"),
        (prune('keep = 2, bricks = ["code"]'), "`g` knows no brick `code`"),
        (prune('keep = 2, bricks = ["sq"]'), "did you mean `sql`?"),
        (prune("keep = 2, bricks = []"), "`bricks` names at least one brick, and each once"),
        (prune('keep = 2, by = "mass", bricks = ["sql"]'), "a prune needs to be told what counts"),
        (prune('groups = [1], bricks = ["sql"]'), WHICH),
        (prune('keep = 2, labels = ["code", "code"]'), "`labels` names at least one label, and each once"),
        (prune("groups = [1]", brick="one"), "`one` is of kind expert, and no partition of neurons"),
        (prune("groups = [1]", brick="base"), "`brick` may not be the base"),
        (f"{prune()}, {ADAPTED}", "`one` does not fit the model as it is by now"),
        (f"{prune()}, {prune()}", "`g` does not fit the model as it is by now"),
        (f"{TURNED}, {prune()}", "`g` does not fit a model with other layers"),
    ],
)
def test_a_prune_that_means_nothing_is_refused(
    steps: str, message: str, llama: Path, labelled: Path, tmp_path: Path
) -> None:
    one = tuned(llama, tmp_path / "one")
    assert message in refused(llama, labelled, steps, tmp_path, one=one)


def test_labels_and_bricks_of_a_partition_without_any_are_refused(llama: Path, tmp_path: Path) -> None:
    brick = partition(llama, tmp_path / "g", groups=GROUPS)
    assert "it was derived without labels" in refused(llama, brick, prune('keep = 1, labels = ["code"]'), tmp_path)
    message = refused(llama, brick, prune('keep = 1, bricks = ["one"]'), tmp_path)
    assert "it was derived without bricks" in message
    assert "name this brick in the `bricks` of its [derived] entry, and derive it again" in message


def test_a_config_json_that_cannot_say_the_width_is_refused(labelled: Path, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    edit_config(base, "config.json", intermediate_size=[48, 48, 48])
    assert "it has no `intermediate_size = 48`" in refused(base, labelled, prune(), tmp_path)


def test_the_width_may_stand_in_the_part_about_text(labelled: Path, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    del config["intermediate_size"]
    (base / "config.json").write_text(json.dumps({**config, "text_config": {"intermediate_size": 48, "other": 48}}))
    found = prepare(text(base, labelled, prune()), tmp_path).artifact.root.config
    assert found["text_config"] == {"intermediate_size": 28, "other": 48}


def test_ffns_with_tensors_that_it_does_not_know_are_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    edit_tensors(base, lambda found: {**found, "model.layers.1.mlp.norm.weight": torch.ones(48)})
    brick = partition(base, tmp_path / "g", groups=GROUPS)
    assert "`model.layers.1.mlp.norm.weight` is no part of an FFN" in refused(base, brick, prune(), tmp_path)


def test_quantised_neurons_are_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    name = "model.layers.1.mlp.up_proj.weight"
    edit_tensors(base, lambda found: {**found, name: found[name].to(torch.int8)})
    brick = partition(base, tmp_path / "g", groups=GROUPS)
    assert f"`{name}` is stored as I8" in refused(base, brick, prune(), tmp_path)


def test_ffns_of_different_width_are_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    ffn = "model.layers.2.mlp"
    shapes = {"gate_proj": (40, 32), "up_proj": (40, 32), "down_proj": (32, 40)}
    edit_tensors(base, lambda found: {**found, **{f"{ffn}.{key}.weight": torch.ones(shape) for key, shape in
                                                  shapes.items()}})  # fmt: skip
    brick = partition(base, tmp_path / "g", groups=GROUPS)
    assert "`model.layers.0.mlp` has 48 neurons, `model.layers.2.mlp` 40" in refused(base, brick, prune(), tmp_path)


def test_a_mixture_of_experts_is_not_pruned(labelled: Path, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    edit_config(base, "config.json", num_experts=8)
    assert "the model is a mixture of experts already" in refused(base, labelled, prune(), tmp_path)
