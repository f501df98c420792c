"""Results are kept by what they follow from, and held against what was accepted."""

import json
import os
import shutil
from pathlib import Path

import pytest

from brickctl.analysis.checks.check import Gate
from brickctl.analysis.checks.exact_match import ExactMatch
from brickctl.analysis.checks.lm_eval import LmEval
from brickctl.analysis.checks.measured import Bar, Good
from brickctl.analysis.checks.regression import Regression
from brickctl.core.accepted import FILE, Accepted
from brickctl.core.digests import sha256_bytes
from brickctl.core.names import Alias
from brickctl.errors import LockInvalid, Unsupported, UsageFault
from brickctl.tensors.executor import Budget
from brickctl.workflows.analyzing import pieces
from brickctl.workflows.analyzing.pieces import outlived
from brickctl.workflows.checking import results
from brickctl.workflows.checking.accept import accept, held_against
from brickctl.workflows.checking.data import digest_of
from brickctl.workflows.checking.run import Run
from brickctl.workflows.checking.score import Origin, Score
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.measure import gate, read_checks, skills
from tests.support.projects import Listener, opened, rewrite, starter_project

KEPT = '\n[[checks]]\nname = "kept"\ntarget = "assistant"\nkind = "regression"\nof = "next"\ntolerance = 0.2\n'
MERGED = "{ upper = 0.9, next = 0.9 }"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter project with five items of each check."""
    project = starter_project(tmp_path, monkeypatch)
    for data in (project / "checks").glob("*.jsonl"):
        data.write_text("".join(data.read_text().splitlines(keepends=True)[:5]))
    return project


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checks for which a model was asked."""
    asked: list[str] = []
    measure = Run._measure

    def noted(self: Run, loaded: object, check: object, *more: object) -> object:
        asked.append(check.name)  # type: ignore[attr-defined]
        return measure(self, loaded, check, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Run, "_measure", noted)
    return asked


def scores(project: Path, *names: str, again: bool = False, events: Listener | None = None) -> list[Score]:
    session = opened(project, events)
    lock = current_lock(session, LockMode.REFRESH)
    return list(gate(session, lock, read_checks(session, names), Budget(threads=1), again=again))


def one(project: Path, name: str) -> Score:
    (score,) = scores(project, name)
    return score


def test_what_was_measured_of_the_same_bytes_is_not_measured_again(project: Path, loads: list[str]) -> None:
    first = scores(project, "next", "text")
    assert loads == ["next", "text"]
    assert not any(score.cached for score in first)

    second = scores(project, "next", "text")
    assert loads == ["next", "text"]
    assert all(score.cached for score in second)
    assert [(score.value, score.count, score.worst) for score in second] == [
        (score.value, score.count, score.worst) for score in first
    ]

    scores(project, "next", again=True)
    assert loads == ["next", "text", "next"]


def test_another_model_or_other_data_or_settings_are_measured(project: Path, loads: list[str]) -> None:
    scores(project, "next")
    data = project / "checks" / "next.jsonl"
    data.write_text("".join(data.read_text().splitlines(keepends=True)[:4]))
    assert one(project, "next").count == 4

    rewrite(project, 'data = "checks/next.jsonl"', 'data = "checks/next.jsonl"\nchat-template = false')
    assert one(project, "next").cached  # that is what it was before

    rewrite(project, MERGED, "{ upper = 0.5, next = 0.5 }")
    assert not one(project, "next").cached
    assert loads == ["next"] * 3


def test_what_is_known_is_told_where_nothing_can_be_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores(project, "next")
    monkeypatch.setattr(pieces, "write_atomically", lambda *_: pytest.fail("something is written"))
    assert one(project, "next").cached


def test_a_newer_library_or_kind_measures_again(
    project: Path, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(project, "next")
    monkeypatch.setattr(results, "_version", lambda name: f"another {name}")
    scores(project, "next")
    monkeypatch.setattr("brickctl.analysis.checks.exact_match.ExactMatch.version", 99)
    scores(project, "next")
    assert loads == ["next"] * 3


def test_a_model_of_which_all_is_known_is_not_built(
    project: Path, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(project, "next")
    shutil.rmtree(project / "dist")
    monkeypatch.setattr("brickctl.workflows.checking.run.build", lambda *_: pytest.fail("something is built"))
    events = Listener()
    (score,) = scores(project, "next", events=events)
    assert score.cached
    assert events.notes == ["assistant was not built: all that is asked of it is known"]
    assert loads == ["next"]


def test_what_a_model_cannot_be_asked_names_the_check(project: Path) -> None:
    rewrite(project, 'data = "checks/next.jsonl"', 'data = "checks/next.jsonl"\nchat-template = true')
    with pytest.raises(Unsupported, match="no chat template") as raised:
        scores(project, "next")
    assert raised.value.place is not None
    assert raised.value.place.line == 54


def test_an_artifact_that_somebody_changed_is_made_anew_before_it_is_vouched_for(project: Path) -> None:
    scores(project, "next")
    config = project / "dist" / "assistant" / "config.json"
    before = config.read_text()
    config.write_text("{}")
    assert one(project, "next").cached
    assert config.read_text() == before


WRONG = '{"prompt": "", "wanted": "", "got": "", "nats": "1"}'


@pytest.mark.parametrize(
    "stored",
    [
        "{}",
        "[]",
        '{"value": "x", "count": 1, "worst": []}',
        '{"worst": [{"got": 1}]}',
        '{"value": NaN, "count": 1, "worst": []}',
        f'{{"value": 1{"0" * 400}, "count": 1, "worst": []}}',
        f'{{"value": 1, "count": 1, "worst": [{WRONG}]}}',
    ],
)
def test_a_stored_result_of_another_shape_is_measured_again(stored: str, project: Path, loads: list[str]) -> None:
    scores(project, "next")
    for piece in (project / ".brickctl" / "results").glob("[0-9a-f]*.json"):
        document = json.loads(piece.read_text())
        piece.write_text(json.dumps({**document, "value": json.loads(stored)}))
    assert one(project, "next").value == 1
    assert loads == ["next", "next"]


def test_results_of_models_that_are_no_more_can_be_pruned(project: Path) -> None:
    scores(project, "next", "text")
    scores(project, "next")
    folder = project / ".brickctl" / "results"
    assert outlived(folder) == ()

    rewrite(project, MERGED, "{ upper = 0.5, next = 0.5 }")
    scores(project, "next")
    assert len(outlived(folder)) == 2  # what was built, and what it reached; `text` was not measured since

    rewrite(project, "{ upper = 0.5, next = 0.5 }", MERGED)
    assert one(project, "text").cached


def test_skills_of_bricks_are_kept_as_well(project: Path, loads: list[str]) -> None:
    for _ in range(2):
        session = opened(project)
        lock, checks = current_lock(session, LockMode.REFRESH), read_checks(session, ["next"])
        found = list(skills(session, lock, checks, Budget(threads=1)))
    assert len(loads) == len(found) == 7
    assert all(score.cached for score in found)
    assert not any((project / ".brickctl" / "skills").iterdir())


def test_a_result_is_held_against_the_one_that_was_accepted(project: Path, loads: list[str]) -> None:
    with (project / "brick.toml").open("a") as manifest:
        manifest.write(KEPT)
    doubtful = one(project, "kept")
    assert not doubtful.passed
    assert doubtful.doubt == "no result of `next` was accepted yet"

    assert accept(opened(project), scores(project))
    written = (project / FILE).read_text()
    assert written.count("check = ") == 6
    assert "kept" not in written
    assert not accept(opened(project), scores(project))
    assert one(project, "kept").passed

    rewrite(project, MERGED, "{ upper = 0.9, next = 0.6 }")
    fallen = one(project, "kept")
    assert (fallen.passed, fallen.doubt) == (False, None)
    assert fallen.bar is not None
    assert fallen.bar.value == 0.8
    assert fallen.worst
    assert loads.count("next") == 2  # once a model, whichever check asks
    assert "kept" not in loads


@pytest.mark.parametrize("value", [119 / 120, 1.6266990947574425])
@pytest.mark.parametrize("good", ["min", "max"])
def test_what_was_accepted_passes_its_own_regression(value: float, good: Good) -> None:
    """Its twelfth decimal rounded, 119 of 120 would be less than itself."""
    digest = sha256_bytes(b"")
    origin = Origin(artifact=digest, data=digest, asked=digest)
    target = Alias("chat")
    check = Gate(name="sums", target=target, kind=ExactMatch(), kind_name="exact-match", bar=Bar(good, 0.9))
    kept = Gate(name="kept", target=target, kind=Regression(of="sums"), kind_name="regression", followed=check)
    before = Accepted(check="sums", target=target, value=value, count=120, asked=digest, artifact=digest, data=digest)
    bar, doubt = held_against(kept, origin, {"sums": before})
    assert doubt is None
    assert bar is not None
    assert bar.keeps(value)
    assert not bar.keeps(value - 1e-9 if good == "min" else value + 1e-9)


def test_a_brick_that_is_called_as_a_target_is_no_gate(project: Path) -> None:
    """The base with `next` alone misses what the target `next` reaches."""
    rewrite(project, "[targets.assistant]", "[targets.upper]")
    text = (project / "brick.toml").read_text().replace('target = "assistant"', 'target = "upper"')
    (project / "brick.toml").write_text(text)
    session = opened(project)
    lock, checks = current_lock(session, LockMode.REFRESH), read_checks(session, ["next"])
    found = [score for score in skills(session, lock, checks, Budget(threads=1)) if score.model == "upper"]
    assert [(score.alone, score.gates, score.value) for score in found] == [(True, False, 0.0), (False, True, 1.0)]


def test_other_data_cannot_be_held_against_an_accepted_result(project: Path) -> None:
    with (project / "brick.toml").open("a") as manifest:
        manifest.write(KEPT)
    accept(opened(project), scores(project, "next"))
    data = project / "checks" / "next.jsonl"
    data.write_text("".join(data.read_text().splitlines(keepends=True)[:4]))
    score = one(project, "kept")
    assert not score.passed
    assert score.doubt == "the data of `next` is not what it was when its result was accepted"


def test_results_of_checks_that_were_not_measured_stay_and_those_of_none_go(project: Path) -> None:
    accept(opened(project), scores(project, "next", "text"))
    rewrite(project, 'name = "text"', 'name = "words"')
    accept(opened(project), scores(project, "upper"))
    lines = (project / FILE).read_text().splitlines()
    assert [line.split('"')[1] for line in lines if "check =" in line] == ["next", "upper"]


def test_accepted_results_that_cannot_be_read_are_not_replaced(project: Path) -> None:
    (project / FILE).write_text("<<<<<<< ours\n")
    with pytest.raises(LockInvalid, match="conflict markers"):
        scores(project, "next")
    assert (project / FILE).read_text() == "<<<<<<< ours\n"


def test_a_file_whose_name_is_no_text_is_told(project: Path) -> None:
    folder = project / "checks" / "letters"
    folder.mkdir()
    (folder / os.fsdecode(b"a\xff")).write_text("")
    check = Gate(
        name="letters", target=Alias("chat"), kind=LmEval(task="letters"), kind_name="lm-eval", data="checks/letters"
    )
    with pytest.raises(UsageFault, match="has a name that is no text"):
        digest_of(opened(project), check)


def test_results_go_through_no_link(project: Path, tmp_path: Path) -> None:
    (project / ".brickctl").mkdir()
    (project / ".brickctl" / "results").symlink_to(tmp_path)
    with pytest.raises(UsageFault, match="will not be used"):
        scores(project, "next")
