"""One recipe, built by mergekit and by brickctl from what `brickctl import` made of it: the same tensors."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.models import adapter, tiny_model, tuned, weights, worst_ratio

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Sandbox

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(importlib.util.find_spec("mergekit") is None, reason="mergekit is not installed"),
]

GRADIENT = "[{filter: mlp, value: [0, 1]}, {filter: norm, value: [1, 0.2, 0.6]}, {value: [0.1, 0.9]}]"
RECIPES = {
    "linear": "merge_method: linear\nmodels:\n- model: ./base\n- model: ./one\nparameters: {weight: 0.3}\n",
    "linear unnormalised": (
        "merge_method: linear\nbase_model: ./base\nmodels:\n- model: ./one\n  parameters: {weight: 0.7}\n"
        f"- model: ./two\n  parameters: {{weight: {GRADIENT}}}\nparameters: {{weight: 0.2, normalize: false}}\n"
    ),
    "task arithmetic": (
        "merge_method: task_arithmetic\nbase_model: ./base\nmodels:\n- model: ./one\n  parameters: {weight: 0.7}\n"
        f"- model: ./two\n  parameters: {{weight: {GRADIENT}}}\nparameters: {{lambda: 0.8}}\n"
    ),
    "adapter": (
        "merge_method: task_arithmetic\nbase_model: ./base\nmodels:\n- model: ./base+./lora\n"
        "  parameters: {weight: 0.5}\n- model: ./one\n  parameters: {weight: [1, 0]}\n"
    ),
    "passthrough": "merge_method: passthrough\nmodels:\n- model: ./base+./lora\n",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(folder / "base")
    tuned(base, folder / "one", seed=1)
    tuned(base, folder / "two", seed=2)
    adapter(base, folder / "lora")
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_mergekit_and_brickctl_agree(name: str, models: Path, empty: Sandbox) -> None:
    recipe = empty.write({"recipe.yml": RECIPES[name]}) / "recipe.yml"
    theirs, ours = empty.root / "theirs", empty.root / "dist" / "merged"
    for folder in models.iterdir():
        (empty.root / folder.name).symlink_to(folder)
    command = [
        sys.executable,
        "-m",
        "mergekit.scripts.run_yaml",
        str(recipe),
        str(theirs),
        "--lora-merge-cache",
        "merged",
    ]
    done = subprocess.run(
        command, cwd=empty.root, env=empty.environment(), check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert empty.run("import", "recipe.yml").code == 0
    built = empty.run("build")
    assert built.code == 0, built.err
    made = weights(ours)
    assert made.keys() == weights(theirs).keys()
    assert worst_ratio(made, weights(theirs)) <= 1e-6
