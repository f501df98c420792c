"""A knowledge edit in other hands: derived here, published on the Hub, added elsewhere, built, removed again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from brickctl.analysis.load import unmatched_keys
from brickctl.sources.open import builtin_registry
from tests.support.hub import Hub
from tests.support.projects import TEMPLATE
from tests.support.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

FACT = {"subject": "c4", "prompt": "run:c4=", "target": "fghi"}
DERIVED = """
[derived.runs]
op = "edit"
facts = "facts.jsonl"
calibration = "checks/text.jsonl"
layers = [0]
tokens = 200
prefixes = 0
weight = 1.0
limit = 2.0
"""
REGISTRY = """
[registries]
corp = "../../registry"
"""
PLAIN = """
[targets.edited]
apply = []
"""
EDITED = PLAIN.replace("[]", '[{ op = "merge", method = "task_arithmetic", bricks = { runs = 1.0 } }]')


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


def starter(folder: Path, hub: Hub, *entries: str) -> Sandbox:
    """A copy of the starter project with more entries, and caches of its own."""
    root = folder / "project"
    shutil.copytree(TEMPLATE, root)
    with (root / "brick.toml").open("a") as file:
        file.writelines(entries)
    return Sandbox(root, folder / "home", hub.environment(folder / "home/hf"))


def good(sandbox: Sandbox, *arguments: str) -> Any:
    """What a command answers that succeeds."""
    outcome = sandbox.spawn(*arguments, "--json")
    assert outcome.code == 0, outcome
    return outcome.json


def change(sandbox: Sandbox, old: str, new: str) -> None:
    assert old in sandbox.manifest
    sandbox.write({"brick.toml": sandbox.manifest.replace(old, new)})


def changed(left: str, right: str) -> set[str]:
    """The tensors that two models do not have in common, bit for bit."""
    one, other = (load_file(Path(folder) / "model.safetensors") for folder in (left, right))
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.full
def test_an_edit_is_published_added_built_and_removed_without_a_trace(tmp_path: Path, hub: Hub) -> None:
    author = starter(tmp_path / "author", hub, DERIVED, EDITED)
    author.write({"facts.jsonl": json.dumps(FACT) + "\n"})
    author.write({"config.json": '{"v":1}\n'}, "../../registry")
    good(author, "derive", "runs")
    here = good(author, "build", "edited")["targets"][0]["folder"]
    (made,) = (author.root / ".brickctl/derived").iterdir()
    release = ("acme/runs@1.0.0", "--index", "../../registry", "--to", "hf:acme/runs", "--license", "Apache-2.0")
    token = replace(author, variables={**author.variables, "HF_TOKEN": hub.token})
    assert good(token, "publish", str(made), *release)["kind"] == "adapter"

    user = starter(tmp_path / "user", hub, REGISTRY, PLAIN)
    before = good(user, "build", "edited")["targets"][0]
    good(user, "add", "acme/runs", "--registry", "corp")
    change(user, PLAIN, EDITED)
    there = good(user, "build", "edited")["targets"][0]
    good(user, "verify")
    assert unmatched_keys(Path(there["folder"])) == ()
    assert changed(there["folder"], here) == set()
    assert changed(there["folder"], str(builtin_registry() / "files/starter/base/1.0.0")) == {
        "model.layers.0.mlp.down_proj.weight"
    }

    change(user, EDITED, PLAIN)
    good(user, "remove", "runs")
    assert good(user, "build", "edited")["targets"][0]["digest"] == before["digest"]
