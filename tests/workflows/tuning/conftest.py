"""A small project whose weights are bad, and examples to tune by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brickctl.core.names import Alias
from brickctl.tensors.executor import Budget
from brickctl.workflows.lock import LockMode
from brickctl.workflows.tuning.tune import Tuned, tune
from brickctl.workflows.tuning.wish import Wish
from tests.support.projects import Listener, opened, rewrite, starter_project

WORDS = ("brick", "tune", "river", "stone", "maple", "quiz")
BUDGET = Budget(threads=1)
HELD_OUT = 4


def examples(prefix: str, answers: dict[str, str]) -> str:
    lines = ({"prompt": f"{prefix}:{word}=", "completion": answer} for word, answer in answers.items())
    return "".join(json.dumps(line) + "\n" for line in lines)


def shifted(word: str) -> str:
    return "".join(chr((ord(letter) - ord("a") + 1) % 26 + ord("a")) for letter in word)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter project with the plain average, which loses `next`; two checks of few items, and tuning data."""
    project = starter_project(tmp_path, monkeypatch)
    monkeypatch.chdir(project)
    rewrite(project, "{ upper = 0.9, next = 0.9 }", "{ upper = 0.5, next = 0.5 }")
    text = (project / "brick.toml").read_text()
    head, *checks = text.split("[[checks]]")
    (project / "brick.toml").write_text("[[checks]]".join([head, *checks[:2]]))
    for data in (project / "checks").glob("*.jsonl"):
        data.write_text("".join(data.read_text().splitlines(keepends=True)[:HELD_OUT]))
    (project / "upper.jsonl").write_text(examples("upper", {word: word.upper() for word in WORDS}))
    (project / "next.jsonl").write_text(examples("next", {word: shifted(word) for word in WORDS}))
    return project


def wish(*files: str, **more: object) -> Wish:
    data = tuple(Path(file) for file in files or ("upper.jsonl", "next.jsonl"))
    return Wish(**{"target": Alias("assistant"), "data": data, "trials": 8, **more})  # type: ignore[arg-type]


def tuned(project: Path, asked: Wish, events: Listener | None = None) -> Tuned:
    return tune(opened(project, events), asked, LockMode.REFRESH, BUDGET)
