"""A merge imports the file of its method alone, and that is enough for it; what tensors have in common is read once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

from brickctl.core import nodes, parameters
from brickctl.merging.method import methods
from brickctl.tensors.fused.without_torch import needs_torch
from tests.support.building import manifest, prepare
from tests.support.choices import BRICKS, fitting, step
from tests.support.models import tiny_model, tuned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
MORE = {"emr": "masks = true", "passthrough": "scale = 0.5"}
_CHILDREN = """
import json, os, sys
from pathlib import Path
from brickctl.core.nodes import Map, Output, Statistic
from brickctl.tensors.fused.without_torch import needs_torch
from brickctl.tensors.kernels import find, find_bundle, find_statistic
from tests.support.building import prepare

def look(text):
    plan = prepare(text, Path(sys.argv[1])).plan
    for node in plan.nodes().values():
        match node:
            case Map():
                find(node.op)
            case Statistic():
                find_statistic(node.op)
            case Output():
                find_bundle(node.bundle.op)
    files = sum(name.startswith("brickctl.merging.") for name in sys.modules)
    return any(needs_torch(node) for _, node in plan.computed), files

for name, text in json.loads(sys.stdin.read()).items():
    if os.fork() == 0:
        print(json.dumps([name, *look(text)]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("models")
    base = tiny_model(root / "base")
    return {"base": base, **{name: tuned(base, root / name, seed=at) for at, name in enumerate(BRICKS, 1)}}


def test_every_method_finds_its_kernels_and_formulas_without_the_files_of_the_others(
    models: Mapping[str, Path], tmp_path: Path
) -> None:
    bricks = {name: models[name] for name in BRICKS}
    texts = {
        name: manifest(models["base"], bricks, step(declared, [0.5] * fitting(declared), MORE.get(name, "")))
        for name, declared in methods().items()
    }
    wanted = {
        name: any(needs_torch(node) for _, node in prepare(text, tmp_path).plan.computed)
        for name, text in texts.items()
    }
    command = [sys.executable, "-c", _CHILDREN, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(texts), capture_output=True, text=True, check=True)
    said = {name: (torch, files) for name, torch, files in map(json.loads, done.stdout.splitlines())}
    assert {name: torch for name, (torch, _) in said.items()} == wanted, done.stderr
    assert max(files for _, files in said.values()) < len(methods()) / 2


def test_what_a_method_declares_and_what_its_nodes_have_in_common_is_read_once_for_all_tensors(
    models: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda first, **more: [read.append(first), function(first, **more)][1]

    monkeypatch.setattr(parameters, "get_type_hints", noting(get_type_hints))
    monkeypatch.setattr(nodes, "json", SimpleNamespace(loads=noting(json.loads)))
    step = '{ op = "merge", method = "ties", density = 0.4321, bricks = [{ brick = "first" }, { brick = "second" }] }'
    plan = prepare(manifest(models["base"], {name: models[name] for name in BRICKS}, step), tmp_path).plan
    assert all(shard.key for shard in plan.shards)
    assert len(plan.computed) > 20
    assert len(read) == len(set(read)) < 20
