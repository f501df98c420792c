"""Checks are answered by running what was built."""

import json
from pathlib import Path

import pytest

from brickctl.errors import NotFound, UsageFault
from brickctl.tensors.executor import Budget
from brickctl.workflows.checking.run import Run
from brickctl.workflows.checking.score import Score
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.measure import gate, read_checks, skills
from tests.support.projects import opened, rewrite, starter_project

BUDGET = Budget(threads=1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter project with the first ten items of each check."""
    project = starter_project(tmp_path, monkeypatch)
    for data in (project / "checks").glob("*.jsonl"):
        data.write_text("".join(data.read_text().splitlines(keepends=True)[:10]))
    return project


def gates(project: Path, *names: str) -> list[Score]:
    session = opened(project)
    return list(gate(session, current_lock(session, LockMode.REFRESH), read_checks(session, names), BUDGET))


def test_the_chosen_weights_keep_both_skills_and_the_average_loses_one(project: Path) -> None:
    assert {score.check.name: score.passed for score in gates(project, "upper", "next")} == {
        "upper": True,
        "next": True,
    }

    rewrite(project, "{ upper = 0.9, next = 0.9 }", "{ upper = 0.5, next = 0.5 }")
    (missed,) = gates(project, "next")

    assert not missed.passed
    assert missed.value == 0.0
    assert len(missed.worst) == 3


def test_a_stack_answers_with_its_active_adapter(project: Path) -> None:
    (reverse,) = gates(project, "bundle")
    assert reverse.value >= 0.9

    rewrite(project, 'active = "reverse"', 'active = "odd"')
    (odd,) = gates(project, "bundle")
    assert odd.value == 0.0


def test_a_table_of_skills_has_the_base_every_brick_and_every_target(project: Path) -> None:
    session = opened(project)
    checks = read_checks(session, ["upper"])
    scores = list(skills(session, current_lock(session, LockMode.REFRESH), checks, BUDGET))

    reached = {score.model: score.value for score in scores}
    assert list(reached) == ["base", "upper", "next", "reverse", "odd", "sort", "assistant"]
    assert reached["base"] == 0.0
    assert reached["upper"] >= 0.9
    assert reached["assistant"] >= 0.9
    assert not any((project / ".brickctl" / "skills").iterdir())


@pytest.mark.parametrize("place", [".brickctl/skills", ".brickctl"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_models_of_skills_go_through_no_link_and_nothing_that_was_refused_is_removed(
    place: str, kind: str, project: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    (mine / "skills").mkdir(parents=True)
    (mine / "skills" / "thesis.txt").write_text("years of work")
    (project / place).parent.mkdir(exist_ok=True)
    if kind == "link":
        (project / place).symlink_to(mine)
    else:
        (project / place).write_text("a list of skills")

    session = opened(project)
    checks = read_checks(session, ["upper"])
    with pytest.raises(UsageFault, match="will not be used"):
        list(skills(session, current_lock(session, LockMode.REFRESH), checks, BUDGET))

    assert (mine / "skills" / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in mine.rglob("*")] == ["skills", "thesis.txt"]
    assert (project / place).is_symlink() == (kind == "link")
    assert kind == "link" or (project / place).read_text() == "a list of skills"


def test_skills_remove_the_models_that_they_made_and_nothing_else(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "scores", lambda *_, **__: ())
    beside = project / ".brickctl" / "skills" / "mine"
    beside.mkdir(parents=True)
    (beside / "thesis.txt").write_text("years of work")

    session = opened(project)
    list(skills(session, current_lock(session, LockMode.REFRESH), read_checks(session, ["upper"]), BUDGET))

    assert (beside / "thesis.txt").read_text() == "years of work"
    assert list(beside.parent.iterdir()) == [beside]


def test_a_folder_of_the_user_where_a_target_would_go_is_refused_before_anything_is_measured(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brickctl.workflows.checking.run.build", lambda *_: pytest.fail("something is built"))
    users = project / "dist" / "assistant"
    users.mkdir(parents=True)
    (users / "thesis.txt").write_text("years of work")

    session = opened(project)
    checks = read_checks(session, ["upper"])
    with pytest.raises(UsageFault, match="assistant"):
        list(skills(session, current_lock(session, LockMode.REFRESH), checks, BUDGET))

    assert (users / "thesis.txt").read_text() == "years of work"


def test_data_that_is_not_there_is_found_before_anything_is_built(project: Path) -> None:
    (project / "checks" / "next.jsonl").unlink()

    with pytest.raises(NotFound, match=r"next\.jsonl"):
        gates(project)
    assert not (project / "dist").exists()


def test_a_perplexity_must_stay_below_its_bar(project: Path) -> None:
    (text,) = gates(project, "text")
    assert 1.0 < text.value <= 2.0
    assert text.passed

    rewrite(project, "max = 2.0", "max = 1.1")
    (text,) = gates(project, "text")
    assert not text.passed


def test_the_checks_of_the_template_are_prompts_and_completions(project: Path) -> None:
    line = json.loads((project / "checks" / "upper.jsonl").read_text().splitlines()[0])
    assert line["prompt"].startswith("upper:")
    assert line["completion"] == line["prompt"].removeprefix("upper:").removesuffix("=").upper()
