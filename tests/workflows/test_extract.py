"""The full expert of the starter bricks, made smaller by derived bricks, and built again of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.tensors.executor import Budget
from brickctl.workflows.bench import Means
from brickctl.workflows.derive import Work, check, derive
from brickctl.workflows.lock import LockMode
from tests.support.models import weights
from tests.support.projects import build_targets, opened, starter_project

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = Budget(threads=1)
DERIVED = """
[derived.lora]
op = "extract-lora"
from = "sort"
energy = 0.9
save-others = true

[derived.small]
op = "extract-delta"
from = "sort"
bits = 8

[derived.half]
op = "extract-layers"
from = "sort"
layers = [0, 2]

[targets.by-lora]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { lora = 1.0 } }]

[targets.by-delta]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { small = 1.0 } }]

[targets.by-layers]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { half = 1.0 } }]

[targets.exact]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { sort = 1.0 } }]
"""
SORTER = ["by-lora", "by-delta", "by-layers", "exact"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = starter_project(tmp_path, monkeypatch)
    with (project / "brick.toml").open("a") as file:
        file.write(DERIVED)
    return project


def test_bricks_of_an_expert_are_derived_locked_built_and_checked(project: Path) -> None:
    work = Work(means=Means(budget=BUDGET))
    made = {one.entry.alias: one for one in derive(opened(project), [], work)}
    assert {alias: one.entry.kind for alias, one in made.items()} == {
        "lora": "adapter", "small": "delta", "half": "layers",
    }  # fmt: skip
    moved = {made.entry.alias: moved for made, moved in check(opened(project), [], work)}
    assert moved == {"lora": (), "small": (), "half": ()}

    targets = build_targets(opened(project), SORTER, LockMode.LOCKED, BUDGET)
    built = {name: weights(one.folder) for name, one in zip(SORTER, targets, strict=True)}
    exact = built["exact"]
    assert made["small"].size < 0.6 * sum(tensor.nbytes for tensor in exact.values())
    for row in made["lora"].findings.rows:
        assert row["error"] <= (0.1**0.5) * 1.001
    for name, tensor in exact.items():
        by_delta = (built["by-delta"][name].double() - tensor.double()).abs().max()
        assert float(by_delta) <= 0.01 * float(tensor.double().abs().max()), name
        if ".layers.0." in name or ".layers.1." in name:
            assert bool((built["by-layers"][name] == tensor).all()), name
