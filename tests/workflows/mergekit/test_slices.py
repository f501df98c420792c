"""Recipes with slices built by mergekit in float32, and by brickctl from what `brickctl import` made of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.mergekit import built_by_brickctl, built_by_mergekit, needs_mergekit
from tests.support.models import adapter, load, tiny_model, tuned, weights, worst_ratio

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Sandbox

pytestmark = [pytest.mark.full, needs_mergekit]

GRADIENT = "[{filter: mlp, value: [0, 1]}, {filter: norm, value: [1, 0.2, 0.6]}, {value: [0.1, 0.9]}]"


def sources(*models: tuple[str, int, int] | tuple[str, int, int, str], more: str = "") -> str:
    """One slice: models with their layers and parameters, and what is said of all of them."""
    lines = ["- sources:"]
    for name, first, end, *said in models:
        lines.append(f"  - model: ./{name}\n    layer_range: [{first}, {end}]")
        lines.extend(f"    parameters: {{{text}}}" for text in said)
    return "\n".join((*lines, f"  parameters: {{{more}}}\n"))


def recipe(method: str, *slices: str, base: str = "base", parameters: str = "") -> str:
    named = f"base_model: ./{base}\n" if base else ""
    return f"merge_method: {method}\n{named}slices:\n{''.join(slices)}parameters: {{{parameters}}}\n"


RECIPES = {
    "passthrough of two models": recipe("passthrough", sources(("base", 0, 2)), sources(("long", 1, 5)), base=""),
    "passthrough scaled": recipe(
        "passthrough",
        sources(("one", 0, 3, "scale: [{filter: o_proj, value: 0}, {value: [1, 0.5]}]")),
        sources(("one", 1, 2, "scale: [0.2, 0.4]")),
        sources(("base", 0, 2), more="scale: [2, 4]"),
    ),
    "passthrough of an adapter": recipe("passthrough", sources(("base+./lora", 1, 3)), sources(("one", 0, 1))),
    "slerp": recipe(
        "slerp",
        sources(("base", 0, 2), ("long", 1, 3), more=f"t: {GRADIENT}"),
        sources(("long", 2, 5), ("base", 0, 3), more="t: [0.7, 0.2, 0.4]"),
        sources(("base", 0, 1), ("long", 4, 5), more=f"t: {GRADIENT}"),
    ),
    "slerp with common numbers": recipe(
        "slerp",
        sources(("base", 0, 2), ("one", 0, 2)),
        sources(("base", 1, 3), ("one", 0, 2)),
        parameters=f"t: {GRADIENT}",
    ),
    "linear": recipe(
        "linear",
        sources(("base", 1, 3), ("two", 1, 3), ("long", 0, 2), more="weight: [0.2, 0.8]"),
        sources(("one", 0, 2, "weight: 0.3"), ("long", 3, 5, "weight: [1, 0.5]")),
        base="",
    ),
    "task_arithmetic": recipe(
        "task_arithmetic",
        sources(("base", 0, 3), ("one", 0, 3, "weight: 0.7"), ("two", 0, 3, f"weight: {GRADIENT}")),
        sources(("base", 1, 2), ("one", 2, 3, "weight: [0.4, 0.6]"), more="lambda: 0.5"),
        sources(("base", 0, 3)),
        parameters="lambda: 0.8",
    ),
    "ties": recipe(
        "ties",
        sources(("base", 0, 2), ("one", 0, 2, "weight: 0.7"), ("two", 0, 2, "weight: 0.6, density: [0.2, 0.9]")),
        sources(("base", 1, 3), ("one", 0, 2), ("base+./lora", 1, 3), more="weight: 0.5"),
        parameters="density: 0.4",
    ),
    "nuslerp of deltas": recipe(
        "nuslerp", sources(("base", 0, 3), ("one", 0, 3), ("two", 0, 3)), parameters="weight: [0.3, 0.9]"
    ),
    "model_stock": recipe("model_stock", sources(("one", 1, 3), ("base", 1, 3), ("two", 1, 3))),
}  # fmt: skip
CUT = recipe("linear", sources(("one", 0, 2)), sources(("one", 2, 3), ("two", 2, 3)), base="", parameters="weight: 1")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(folder / "base")
    for seed, name in enumerate(("one", "two"), start=1):
        tuned(base, folder / name, seed=seed)
    tiny_model(folder / "long", seed=7, num_hidden_layers=5)
    adapter(base, folder / "lora")
    return folder


@pytest.fixture(scope="module")
def theirs(models: Path) -> Path:
    return built_by_mergekit({**RECIPES, "cut": CUT}, models)


@pytest.mark.parametrize("name", RECIPES)
def test_mergekit_and_brickctl_agree_on_slices(name: str, models: Path, theirs: Path, empty: Sandbox) -> None:
    ours, reference = built_by_brickctl(RECIPES[name], models, empty), weights(theirs / name)
    assert ours.keys() == reference.keys()
    assert worst_ratio(ours, reference) <= 1e-6
    made, expected = (
        json.loads((folder / "config.json").read_text()) for folder in (empty.root / "dist/merged", theirs / name)
    )
    assert made["num_hidden_layers"] == expected["num_hidden_layers"] == load(theirs / name).config.num_hidden_layers


def test_the_head_is_made_of_all_models_of_the_last_slice(models: Path, theirs: Path, empty: Sandbox) -> None:
    """mergekit takes as many of them as the first slice has, without a word: here one of two."""
    ours, reference = built_by_brickctl(CUT, models, empty), weights(theirs / "cut")
    one, two, head = weights(models / "one"), weights(models / "two"), "lm_head.weight"
    assert torch.equal(reference[head], one[head])
    assert torch.allclose(ours[head], (one[head] + two[head]) / 2, rtol=0, atol=1e-7)
    layers = {name: tensor for name, tensor in ours.items() if name not in {head, "model.norm.weight"}}
    assert worst_ratio(layers, reference) <= 1e-6
    (empty.root / "brick.toml").unlink()
    assert "mergekit takes 1 of them, as many as the first slice has" in empty.run("import", "recipe.yml").err
