"""Recipes as mergekit builds them, and as brickctl builds what `import` made of them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.models import weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from tests.support.sandbox import Sandbox

needs_mergekit = pytest.mark.skipif(importlib.util.find_spec("mergekit") is None, reason="mergekit is not installed")

_SCRIPT = """
import pathlib, sys, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
options = MergeOptions(lora_merge_cache="merged", copy_tokenizer=False, write_model_card=False, quiet=True)
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.yml")):
    run_merge(MergeConfiguration.model_validate(yaml.safe_load(path.read_text())), str(path.with_suffix("")), options)
"""


def built_by_mergekit(recipes: Mapping[str, str], models: Path) -> Path:
    """A folder with every recipe built, in one process: starting it takes longer than all of the merges."""
    folder = models / "theirs"
    folder.mkdir()
    for name, text in recipes.items():
        (folder / f"{name}.yml").write_text(text)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(models / "hf")}
    command = [sys.executable, "-c", _SCRIPT, str(folder)]
    done = subprocess.run(
        command, cwd=models, env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def built_by_brickctl(text: str, models: Path, sandbox: Sandbox) -> dict[str, Tensor]:
    """What brickctl makes of a recipe."""
    sandbox.write({"recipe.yml": text})
    for folder in models.iterdir():
        (sandbox.root / folder.name).symlink_to(folder)
    for arguments in (("import", "recipe.yml"), ("build",)):
        outcome = sandbox.run(*arguments)
        assert outcome.code == 0, outcome.err
    return weights(sandbox.root / "dist" / "merged")
