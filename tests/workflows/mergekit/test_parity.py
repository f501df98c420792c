"""Recipes built by mergekit in float32, and by brickctl from what `brickctl import` made of them: the same tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.workflows.mergekit.methods import METHODS, RANDOM
from tests.support.mergekit import built_by_brickctl, built_by_mergekit, needs_mergekit
from tests.support.models import adapter, tiny_model, tuned, weights, worst_ratio

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Sandbox

pytestmark = [pytest.mark.full, needs_mergekit]

GRADIENT = "[{filter: mlp, value: [0, 1]}, {filter: norm, value: [1, 0.2, 0.6]}, {value: [0.1, 0.9]}]"
ONE_TWO = "- model: ./one\n  parameters: {weight: 0.7}\n- model: ./two\n  parameters: {weight: 0.4}\n"
GRADED = f"- model: ./one\n  parameters: {{weight: 0.7}}\n- model: ./two\n  parameters: {{weight: {GRADIENT}}}\n"
OPPOSED = "- model: ./one\n  parameters: {weight: 1}\n- model: ./two\n  parameters: {weight: -0.4}\n"
DENSE = (
    "- model: ./one\n  parameters: {weight: 0.7, density: 0.3}\n"
    "- model: ./two\n  parameters: {weight: 0.6, density: [0.2, 0.9]}\n- model: ./three\n"
)
PLAIN = "- model: ./one\n- model: ./two\n- model: ./three\n"
WITH_LORA = "- model: ./base+./lora\n  parameters: {weight: 0.5}\n- model: ./one\n  parameters: {weight: [1, 0]}\n"


def recipe(method: str, models: str, parameters: str = "", base: str = "./base", more: str = "") -> str:
    named = f"base_model: {base}\n" if base else ""
    return f"merge_method: {method}\n{named}models:\n{models}parameters: {{{parameters}}}\n{more}"


RECIPES = {
    "arcee_fusion": recipe("arcee_fusion", "- model: ./one\n", more="dtype: float64\nout_dtype: float32\n"),
    "breadcrumbs": recipe("breadcrumbs", DENSE, "weight: 0.3, density: 0.8, gamma: 0.05"),
    "breadcrumbs normalised": recipe("breadcrumbs", ONE_TWO, "density: 0.5, normalize: true, rescale: true"),
    "breadcrumbs_ties": recipe("breadcrumbs_ties", DENSE, "weight: 0.3, density: 0.8, lambda: [0.5, 1]"),
    "dare_linear": recipe("dare_linear", GRADED, "lambda: 0.8, normalize: true"),
    "dare_ties": recipe("dare_ties", GRADED),
    "della": recipe("della", GRADED),
    "della_linear": recipe("della_linear", ONE_TWO, "lambda: {filter: mlp, value: 0.5}"),
    "karcher": recipe("karcher", PLAIN, "max_iter: 20", base=""),
    "karcher with a base": recipe("karcher", "- model: ./one\n- model: ./two\n"),
    "linear": recipe("linear", "- model: ./base\n- model: ./one\n", "weight: 0.3", base=""),
    "linear unnormalised": recipe("linear", GRADED, "weight: 0.2, normalize: false"),
    "model_stock": recipe("model_stock", PLAIN),
    "model_stock by row": recipe("model_stock", PLAIN, "filter_wise: true"),
    "multislerp": recipe("multislerp", ONE_TWO, base=""),
    "multislerp of deltas": recipe("multislerp", ONE_TWO, "normalize_weights: false"),
    "nearswap": recipe("nearswap", "- model: ./one\n", "t: [0.001, 0.02]"),
    "nuslerp": recipe("nuslerp", GRADED, base=""),
    "nuslerp of deltas": recipe("nuslerp", ONE_TWO),
    "nuslerp by row": recipe("nuslerp", ONE_TWO, "nuslerp_flatten: false"),
    "nuslerp by column": recipe("nuslerp", ONE_TWO, "nuslerp_flatten: false, nuslerp_row_wise: true"),
    "passthrough": recipe("passthrough", "- model: ./base+./lora\n", base=""),
    "passthrough scaled": recipe("passthrough", "- model: ./one\n", "scale: [{filter: o_proj, value: 0}]", base=""),
    "ram": recipe("ram", PLAIN, "epsilon: 0.01"),
    "ramplus_tl": recipe("ramplus_tl", PLAIN, "epsilon: 0.01, r: 0.3, alpha: 0.9"),
    "sce": recipe("sce", PLAIN, "select_topk: 0.3"),
    "sce of all entries": recipe("sce", PLAIN),
    "slerp": recipe("slerp", "- model: ./far\n", "t: [{filter: self_attn, value: [0, 0.5, 1]}, {value: 0.3}]"),
    "slerp of close models": recipe("slerp", "- model: ./base\n- model: ./one\n", "t: 0.3"),
    "task_arithmetic": recipe("task_arithmetic", GRADED, "lambda: 0.8"),
    "task_arithmetic normalised": recipe("task_arithmetic", ONE_TWO, "lambda: 0.8, normalize: true"),
    "task_arithmetic with an adapter": recipe("task_arithmetic", WITH_LORA),
    "ties": recipe("ties", DENSE, "weight: 0.3, density: 0.6, lambda: 0.9"),
    "ties of opposed weights": recipe("ties", OPPOSED, "density: 0.5, normalize: false, rescale: true"),
    "ties with an adapter": recipe("ties", WITH_LORA, "density: 0.5, int8_mask: true"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(folder / "base")
    for seed, name in enumerate(("one", "two", "three"), start=1):
        tuned(base, folder / name, seed=seed)
    tiny_model(folder / "far", seed=7)
    adapter(base, folder / "lora")
    return folder


@pytest.fixture(scope="module")
def theirs(models: Path) -> Path:
    return built_by_mergekit(RECIPES, models)


@pytest.mark.parametrize("name", RECIPES)
def test_mergekit_and_brickctl_agree(name: str, models: Path, theirs: Path, empty: Sandbox) -> None:
    ours, reference = built_by_brickctl(RECIPES[name], models, empty), weights(theirs / name)
    assert ours.keys() == reference.keys()
    assert worst_ratio(ours, reference) <= 1e-6


def test_every_method_is_compared() -> None:
    assert {name.split()[0] for name in RECIPES} == {*METHODS}


@pytest.mark.parametrize("method", RANDOM)
def test_a_random_method_builds_and_drops_some_entries(method: str, models: Path, empty: Sandbox) -> None:
    text = recipe(method, ONE_TWO, "density: 0.4")
    ours, base = built_by_brickctl(text, models, empty), weights(models / "base")
    same = sum(int((ours[name] == base[name]).sum()) for name in base)
    count = sum(tensor.numel() for tensor in base.values())
    assert 0.3 < same / count < 0.42  # 0.6 ** 2: neither of the two deltas keeps the entry
