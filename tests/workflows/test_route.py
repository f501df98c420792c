"""Routed targets through the workflow of a build: what it promises of the bytes, and what it says afterwards."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from brickctl.tensors.executor import Budget
from brickctl.workflows.lock import LockMode
from tests.support.building import manifest
from tests.support.deriving import derive
from tests.support.models import adapter
from tests.support.projects import build_targets, opened
from tests.support.routing import lines, model_of_words, prompts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.workflows.build import Built

ROUTER = 'op = "centroids"\nfrom = "base"\nbricks = ["plain", "other"]\ncalibration = "prompts.jsonl"'
ARROW = '{ op = "route", method = "arrow", bricks = ["plain", "other"] }'
RETRIEVAL = '{ op = "route", method = "retrieval", bricks = ["plain", "other"], router = "router" }'
DORA = '{ op = "route", method = "arrow", bricks = ["plain", "dora"] }'


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A base of words, adapters for it, and a router for two of them."""
    base = model_of_words(tmp_path / "base")
    adapters = {
        "plain": adapter(base, tmp_path / "plain", seed=1),
        "other": adapter(base, tmp_path / "other", seed=2, r=2),
        "dora": adapter(base, tmp_path / "dora", seed=3, use_dora=True, target_modules=["q_proj", "up_proj"]),
    }
    (tmp_path / "prompts.jsonl").write_text(lines(plain=prompts(4, 4), other=prompts(24, 4), base=prompts(44, 4)))
    derive(base, adapters, ROUTER, tmp_path / "router")
    return {"base": base, **adapters, "router": tmp_path / "router"}


def built(step: str, folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Built:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))
    project = tmp_path / "project"
    project.mkdir()
    bricks = {name: folder for name, folder in folders.items() if name != "base"}
    (project / "brick.toml").write_text(manifest(folders["base"], bricks, step))
    (found,) = build_targets(opened(project), ["t"], LockMode.REFRESH, Budget(threads=1))
    return found


@pytest.mark.parametrize(("step", "promised"), [(ARROW, "numeric"), (RETRIEVAL, "bitwise"), (DORA, "numeric")])
def test_only_what_goes_through_lapack_is_numeric(
    step: str, promised: str, folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = built(step, folders, tmp_path, monkeypatch)
    record = json.loads((found.folder / "brick.build.json").read_text())
    assert record["predicate"]["buildDefinition"]["internalParameters"] == {"reproducible": promised}


def test_a_build_says_how_much_of_a_dora_is_missing(
    folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = built(DORA, folders, tmp_path, monkeypatch)
    missed = load_file(found.folder / "router/approximations.safetensors")
    total = math.sqrt(sum(float(far) ** 2 for far, _ in missed.values()))
    share = total / math.sqrt(sum(float(norm) ** 2 for _, norm in missed.values()))
    worst = max(missed, key=lambda name: float(missed[name][0] / missed[name][1])).removeprefix("dora.")
    pattern = r"`dora`: its LoRA misses ([\d.]+)% of its change, and of `(.*)` ([\d.]+)%"
    said = re.fullmatch(pattern, found.notes[-1])
    assert said is not None
    assert float(said[1]) == pytest.approx(100 * share, abs=0.006)
    assert said[2] == worst
    assert 1 < float(said[1]) < float(said[3]) < 99
