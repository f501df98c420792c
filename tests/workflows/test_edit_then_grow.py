"""A project that merges, edits what came out, and grows that: each step is made of the one before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from brickctl.analysis.load import unmatched_keys
from brickctl.errors import LockStale
from brickctl.tensors.executor import Budget
from brickctl.workflows.bench import Means
from brickctl.workflows.build import read_recipes
from brickctl.workflows.derive import Work, derive
from brickctl.workflows.lock import LockMode, lock_for
from tests.support.projects import build_targets, opened, rewrite, starter_project

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.core.digests import Sha256

FACT = {"subject": "c4", "prompt": "run:c4=", "target": "fghi"}
MERGED = """
[targets.merged]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { upper = 0.9, next = 0.9 } }]
"""
ENTRIES = """
[derived.runs]
op = "edit"
from = { target = "merged" }
facts = "facts.jsonl"
calibration = "checks/text.jsonl"
layers = [0]
tokens = 200
prefixes = 0
weight = 1.0
limit = 2.0

[targets.grown]
from = { target = "merged" }
apply = [
  { op = "merge", method = "task_arithmetic", bricks = { runs = 1.0 } },
  { op = "grow-depth", layers = 6 },
  { op = "grow-width", neurons = 512 },
]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = starter_project(tmp_path, monkeypatch)
    (folder / "facts.jsonl").write_text(json.dumps(FACT) + "\n")
    with (folder / "brick.toml").open("a") as file:
        file.write(MERGED + ENTRIES)
    return folder


def build(project: Path, budget: Budget) -> tuple[Path, Sha256]:
    session = opened(project)
    lock_for(session, LockMode.REFRESH, read_recipes(session, ["grown"]))
    (found,) = build_targets(session, ["grown"], LockMode.REFRESH, budget, force=True)
    return found.folder, found.digest


def test_the_first_weight_reaches_through_the_edit_to_what_is_grown(project: Path) -> None:
    list(derive(opened(project), ["runs"], Work(means=Means(budget=Budget(threads=1)))))
    folder, digest = build(project, Budget(threads=1))
    assert build(project, Budget(threads=2, memory=8 << 20))[1] == digest
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["intermediate_size"]) == (6, 512)
    assert unmatched_keys(folder) == ()
    rewrite(project, MERGED, MERGED.replace("0.9", "0.8", 1))
    with pytest.raises(LockStale) as stale:
        build(project, Budget(threads=1))
    assert "`runs` was made of something else" in stale.value.message
    assert stale.value.hint is not None
    assert "brickctl derive runs" in stale.value.hint
