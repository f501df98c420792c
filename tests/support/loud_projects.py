"""The starter project with a brick that is the base's last norm, times the number of lines of a file."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import tests.support.scaling  # noqa: F401 - makes the derivation known
from brickctl.tensors.executor import Budget
from brickctl.workflows import lock as locking
from brickctl.workflows.bench import Means
from brickctl.workflows.build import read_recipes
from brickctl.workflows.derive import Made, Work, derive
from brickctl.workflows.lock import LockMode, lock_for
from tests.support.projects import Listener, build_targets, opened, starter_project

BUDGET = Budget(threads=1)
LOUD = """
[derived.loud]
op = "scale"
lines = "data/lines.txt"

[targets.louder]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { loud = 1.0 } }]
"""


def loud_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made in `folder`; the file has two lines."""
    project = starter_project(folder, monkeypatch)
    (project / "data").mkdir()
    (project / "data/lines.txt").write_text("one\ntwo\n")
    append(project, LOUD)
    return project


def append(project: Path, text: str) -> None:
    with (project / "brick.toml").open("a") as file:
        file.write(text)


def work(mode: LockMode = LockMode.REFRESH, *, force: bool = False) -> Work:
    return Work(means=Means(budget=BUDGET), mode=mode, force=force)


def made(project: Path, *names: str, events: Listener | None = None, **settings: Any) -> dict[str, Made]:
    session = opened(project, events)
    return {one.entry.alias: one for one in derive(session, names, work(**settings))}


def built(project: Path, mode: LockMode = LockMode.REFRESH) -> dict[str, Any]:
    session = opened(project)
    lock_for(session, mode, read_recipes(session, ["louder"]))
    (result,) = build_targets(session, ["louder"], mode, BUDGET)
    return load_file(result.folder / "model.safetensors")


def opened_lock(project: Path, mode: LockMode) -> None:
    locking.current_lock(opened(project), mode)
