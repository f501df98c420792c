"""Partitions of neurons: what fits its base is read, and what was tampered with is refused before it means anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.kind import detect_kind, kind_named
from brickctl.kinds.neurons import ffns
from tests.support.building import manifest, prepare
from tests.support.models import edit_config, edit_tensors, tiny_model
from tests.support.neurons import partition

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

FFN = "model.layers.1.mlp"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("neurons") / "base")


@pytest.fixture
def brick(base: Path, tmp_path: Path) -> Path:
    return partition(base, tmp_path / "g", groups=4, shared=8, router="linear", labels=["code", "prose"])


def use(base: Path, brick: Path, scratch: Path) -> None:
    prepare(manifest(base, {"g": brick}, '{ op = "prune", brick = "g", keep = 2, by = "mass" }'), scratch)


def refusal(base: Path, brick: Path, scratch: Path) -> str:
    with pytest.raises(Misfit) as caught:
        use(base, brick, scratch)
    return str(caught.value)


def document(brick: Path, **changes: Any) -> Path:
    return edit_config(brick, "neurons_config.json", **changes)


def with_tensor(name: str, tensor: Tensor) -> Any:
    return lambda found: {**found, name: tensor}


def test_a_partition_fits_the_base_that_it_was_made_for(base: Path, brick: Path, tmp_path: Path) -> None:
    use(base, brick, tmp_path)


def test_scores_may_be_there(base: Path, brick: Path, tmp_path: Path) -> None:
    use(base, edit_tensors(brick, with_tensor(f"{FFN}.scores", torch.rand(2, 48))), tmp_path)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"format": "brickctl-neurons-2"}, "`brickctl-neurons-2`; this brickctl reads `brickctl-neurons-1`"),
        ({"format": None}, "has the format `null`"),
        ({"method": "magic"}, "`method` in neurons_config.json is `magic`"),
        ({"router": ["linear"]}, "`router` in neurons_config.json is `a list`"),
        ({"groups": 0}, "`groups` in neurons_config.json must be a number from 1 on, not `0`"),
        ({"groups": True}, "not `true`"),
        ({"groups": 4.0}, "not `4.0`"),
        ({"groups": 10**400}, "must be a number from 1 on"),
        ({"groups": 3}, "has 3 groups and 8 shared; `model.layers.0.mlp` has 48 neurons"),
        ({"shared": 48}, "has 4 groups and 48 shared"),
        ({"shared": -8}, "`shared` in neurons_config.json must be a number from 0 on"),
        ({"labels": "code"}, "`labels` in neurons_config.json is no list"),
        ({"labels": ["code", "code"]}, "has a name twice"),
        ({"labels": ["code", "a\nb"]}, "is no list of up to 1000 names"),
        ({"labels": ["code"]}, "`model.layers.0.mlp.mass` is F32 [2, 4] and should be F32 [1, 4]"),
        ({"interface": "0" * 64}, "no `sha256:` and 64 digits"),
        ({"interface": f"sha256:{'0' * 64}"}, "tensors have other names or shapes"),
        ({"router": None}, "`model.layers.0.mlp.router.weight` is nothing that it has of an FFN"),
        ({"router": "mlp"}, "`model.layers.0.mlp.router.weight` is nothing that it has of an FFN"),
    ],
)
def test_a_configuration_that_is_off_is_refused(
    changes: dict[str, Any], cause: str, base: Path, brick: Path, tmp_path: Path
) -> None:
    assert cause in refusal(base, document(brick, **changes), tmp_path)


def without(name: str) -> Any:
    return lambda found: {key: tensor for key, tensor in found.items() if key != name}


def order(change: Callable[[Tensor], Tensor]) -> Any:
    return lambda found: {**found, f"{FFN}.order": change(found[f"{FFN}.order"]).to(torch.int32)}


def mass(number: float) -> Any:
    return with_tensor(f"{FFN}.mass", torch.tensor([[0.5, number, 0.1, 0.1]] * 2))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (without(f"{FFN}.order"), f"it has no `{FFN}.order`"),
        (without(f"{FFN}.mass"), f"it has no `{FFN}.mass`"),
        (without(f"{FFN}.router.weight"), f"it has no `{FFN}.router.weight`"),
        (with_tensor("model.layers.9.mlp.order", torch.arange(48, dtype=torch.int32)), "nothing that it has of an FFN"),
        (with_tensor(f"{FFN}.extra", torch.ones(2)), "nothing that it has of an FFN"),
        (with_tensor(f"{FFN}.router.0.weight", torch.ones(4, 32)), "nothing that it has of an FFN"),
        (with_tensor(f"{FFN}.order", torch.arange(48)), "is I64 [48] and should be I32 [48]"),
        (with_tensor(f"{FFN}.order", torch.arange(49, dtype=torch.int32)), "is I32 [49] and should be I32 [48]"),
        (with_tensor(f"{FFN}.router.weight", torch.ones(4, 31)), "is F32 [4, 31] and should be F32 [4, 32]"),
        (with_tensor(f"{FFN}.scores", torch.ones(3, 48)), "is F32 [3, 48] and should be F32 [2, 48]"),
        (order(lambda found: found.clamp(max=46)), f"`{FFN}.order` is no permutation of 48 neurons"),
        (order(lambda found: found + 1), f"`{FFN}.order` is no permutation of 48 neurons"),
        (order(lambda found: found - 1), f"`{FFN}.order` is no permutation of 48 neurons"),
        (order(lambda found: found * 2**24), f"`{FFN}.order` is no permutation of 48 neurons"),
        (mass(-0.1), f"`{FFN}.mass` has a number that is negative, infinite or none"),
        (mass(torch.nan), f"`{FFN}.mass` has a number that is negative, infinite or none"),
        (mass(torch.inf), f"`{FFN}.mass` has a number that is negative, infinite or none"),
    ],
)
def test_tensors_that_are_off_are_refused(change: Any, cause: str, base: Path, brick: Path, tmp_path: Path) -> None:
    assert cause in refusal(base, edit_tensors(brick, change), tmp_path)


@pytest.mark.parametrize("measured", [[torch.nan, 0.1], [1.0, -0.1], [torch.inf, 0.1]])
def test_measured_logits_must_be_numbers(measured: list[float], base: Path, tmp_path: Path) -> None:
    brick = partition(base, tmp_path / "g", groups=4, router="linear")
    edit_tensors(brick, with_tensor(f"{FFN}.logits", torch.tensor(measured, dtype=torch.float64)))
    with pytest.raises(Misfit, match=r"`model\.layers\.1\.mlp\.logits` has a number"):
        prepare(manifest(base, {"g": brick}, '{ op = "split", brick = "g", active = 2 }'), tmp_path)


def test_a_router_with_a_hidden_layer_of_any_width_is_read(base: Path, tmp_path: Path) -> None:
    brick = partition(base, tmp_path / "g", groups=4, router="mlp")
    shapes = {"0.weight": (7, 32), "0.bias": (7,), "2.weight": (4, 7), "2.bias": (4,)}
    hidden = {f"{FFN}.router.{key}": torch.ones(shape) for key, shape in shapes.items()}
    use(base, edit_tensors(brick, lambda found: {**found, **hidden}), tmp_path)
    edit_tensors(brick, with_tensor(f"{FFN}.router.2.bias", torch.ones(5)))
    assert "is F32 [5] and should be F32 [4]" in refusal(base, brick, tmp_path)
    edit_tensors(brick, with_tensor(f"{FFN}.router.2.bias", torch.ones(())))
    assert "is F32 [] and should be F32 [4]" in refusal(base, brick, tmp_path)


def test_a_tied_head_may_stand_in_the_files_of_the_base_or_not(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", tie_word_embeddings=True)
    brick = partition(base, tmp_path / "g", groups=4)
    use(base, brick, tmp_path)
    edit_tensors(base, lambda found: {**found, "lm_head.weight": found["model.embed_tokens.weight"].clone()})
    use(base, brick, tmp_path)
    use(base, partition(base, tmp_path / "h", groups=4), tmp_path)


def test_another_base_is_refused(brick: Path, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other", num_hidden_layers=2)
    assert "set [base] to the model that it was derived from" in refusal(other, brick, tmp_path)


def test_a_base_whose_ffns_have_no_gate_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    save_file({"h.0.mlp.c_fc.weight": torch.ones(4, 16), "h.0.mlp.c_proj.weight": torch.ones(16, 4)},
              plain / "model.safetensors", {"format": "pt"})  # fmt: skip
    found = partition(plain, tmp_path / "p", groups=4)
    edit_tensors(found, lambda _: {"h.0.mlp.order": torch.arange(16, dtype=torch.int32)})
    assert "no FFN of the base has `gate_proj`, `up_proj` and `down_proj`" in refusal(plain, found, tmp_path)


def test_it_is_told_by_its_configuration(base: Path, brick: Path, tmp_path: Path) -> None:
    prepared = prepare(manifest(base, {"g": brick}, ""), tmp_path)
    assert [ffn.path for ffn in ffns(prepared.artifact.root)] == [f"model.layers.{layer}.mlp" for layer in range(3)]
    text = manifest(base, {"g": brick}, '{ op = "merge", method = "linear", bricks = { g = 1.0 } }')
    with pytest.raises(Unsupported, match="`g` is a partition of neurons, which cannot be merged"):
        prepare(text, tmp_path)


def contents(document: dict[str, Any]) -> Any:
    from brickctl.core.brick import Contents

    return Contents(documents={"neurons_config.json": document}, tensors={})


def test_facts_of_a_hostile_document_are_harmless() -> None:
    kind = kind_named("neurons")
    assert detect_kind("g", contents({})).name == "neurons"
    said = kind.facts(contents({"method": "a\x1b[2J", "groups": "x", "labels": [1, "b" * 500], "shared": 3}))
    assert said["method"] == '"a\\u001b[2J"'
    assert "groups" not in said
    assert said["shared"] == 3
    assert said["labels"][0] == "1"
    assert len(said["labels"][1]) == 80
    assert kind.facts(contents({"labels": {"a": 1}}))["labels"] == []
