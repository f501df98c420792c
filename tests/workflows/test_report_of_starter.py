"""The report of the starter project: what `brickctl test` has measured, and what its bricks do to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.analysis.checks.measured import Measured, Wrong
from brickctl.tensors.executor import Budget
from brickctl.workflows.build import build, read_recipes
from brickctl.workflows.checking.data import digest_of
from brickctl.workflows.checking.results import Results
from brickctl.workflows.checking.run import open_run
from brickctl.workflows.checking.score import Origin, asked_of
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.measure import read_checks
from brickctl.workflows.report.gather import gather
from tests.support.projects import opened, starter_project

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.pages.target.contents import Report


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter project with five items of each check, locked."""
    project = starter_project(tmp_path, monkeypatch)
    for data in (project / "checks").glob("*.jsonl"):
        data.write_text("".join(data.read_text().splitlines(keepends=True)[:5]))
    current_lock(opened(project), LockMode.REFRESH)
    return project


def report(project: Path, target: str = "assistant", *, with_interference: bool = False) -> Report:
    session = opened(project)
    return gather(session, read_recipes(session, (target,))[0], with_interference=with_interference)


def keep(project: Path, name: str, measured: Measured) -> None:
    """What a run of `brickctl test` would leave of one check."""
    session = opened(project)
    lock, (check,) = current_lock(session, LockMode.REFRESH), read_checks(session, (name,))
    (recipe,) = read_recipes(session, (check.target,))
    budget = Budget(threads=1)
    digest = build(session, recipe, session.artifact_folder(recipe.name), lock, budget).digest
    run = open_run(session, lock, budget, again=False)
    origin = Origin(artifact=digest, data=digest_of(session, check), asked=asked_of(check))
    Results(run.folder, recipe.name).keep(check, origin, measured)


def test_what_was_measured_of_these_very_bytes_is_told(project: Path) -> None:
    before = report(project).skills
    assert before is not None
    assert [check.name for check in before.checks] == ["upper", "next", "copy", "text"]
    assert before.models == ("assistant", "base", "next", "upper")
    assert before.scores == ()

    keep(project, "next", Measured(value=0.8, count=5, worst=(Wrong(prompt="a", wanted="b", got="c"),)))
    measured = report(project).skills
    assert measured is not None
    (score,) = measured.scores
    assert (score.check, score.model, score.words, score.count) == ("next", "assistant", "80.0%", 5)
    assert score.passed is False  # the bar is 90 %
    assert score.worst == ("after 'a' came 'c', not 'b'",)

    manifest = project / "brick.toml"
    manifest.write_text(manifest.read_text().replace("upper = 0.9, next = 0.9", "upper = 0.9, next = 0.1"))
    changed = report(project).skills
    assert changed is not None
    assert changed.scores == ()  # it would be another model now


def test_the_bricks_of_a_merge_are_held_against_each_other(project: Path) -> None:
    (pair,) = report(project, with_interference=True).pairs
    assert (pair.one, pair.other, pair.advice) == ("upper", "next", "merge")
    assert pair.cosine is not None
    assert abs(pair.cosine) < 0.1
    assert report(project, "bundle", with_interference=True).pairs == ()  # nothing is merged
    assert report(project).pairs == ()  # nobody asked


def test_something_else_in_the_place_of_the_artifact_stops_no_page(project: Path) -> None:
    (project / "dist/assistant").mkdir(parents=True)
    (project / "dist/assistant/mine.txt").write_text("mine")
    open_run(opened(project), current_lock(opened(project), LockMode.REFRESH), Budget(threads=1), again=False)
    (project / ".brickctl").mkdir(exist_ok=True)
    found = report(project)
    assert (found.artifact.state, found.skills is not None and found.skills.scores) == ("not built", ())
