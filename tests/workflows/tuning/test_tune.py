"""Weights are found by some examples, and written where others say that they are better."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brickctl.analysis import tuning
from brickctl.analysis.checks.exact_match import ExactMatch
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.step_edit import steps_of
from brickctl.errors import BrickctlError, Busy, ManifestInvalid, NotFound, Unsupported, UsageFault
from brickctl.workflows.tuning import tune as tuning_workflow
from tests.support.projects import Listener, rewrite
from tests.workflows.tuning.conftest import tuned, wish


def test_what_was_lost_by_an_average_is_found_again_and_written_with_how(project: Path) -> None:
    before = (project / "brick.toml").read_text()
    done = tuned(project, wish())

    assert {pair.before.check.name: (pair.before.value, pair.after.value) for pair in done.held_out}["next"] == (0, 1)
    assert (done.is_better, done.written, done.found.tried) == (True, True, 8)
    assert done.found.after.loss < done.found.before.loss / 10
    text = (project / "brick.toml").read_text()
    assert steps_of(text, "assistant") == done.found.winner.space.tables(done.found.winner.values)
    note = [line for line in text.splitlines() if line.startswith("# tuned: ")]
    assert "8 trials, gp, seed 0" in note[0]
    assert note[1].startswith("# tuned: by 12 examples of upper.jsonl, next.jsonl: loss ")
    assert "next 0.0% -> 100.0%" in note[2]
    kept = [line for line in text.splitlines() if not line.startswith("# tuned: ") and "upper = " not in line]
    assert kept == [line for line in before.splitlines() if "upper = 0.5" not in line and "upper = " not in line]
    assert parse_manifest(text)
    assert not (project / "dist").exists()
    assert [path.name for path in (project / ".brickctl/tuning").iterdir()] == ["measured.sqlite"]


def test_a_search_that_was_stopped_goes_on_to_the_same_winner(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = wish(dry_run=True, trials=5)
    monkeypatch.setattr(tuning_workflow, "_reached", lambda *_: ())
    measure, count = tuning.reached, 0

    def stopped(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count > 7:
            raise KeyboardInterrupt
        return measure(*given)

    events = Listener()
    monkeypatch.setattr(tuning, "reached", stopped)
    with pytest.raises(KeyboardInterrupt):
        tuned(project, asked, events)
    assert "what was measured is kept: the same command goes on from there" in events.notes
    monkeypatch.setattr(tuning, "reached", measure)
    resumed = tuned(project, asked)
    again = tuned(project, asked)
    (project / ".brickctl/tuning/measured.sqlite").unlink()
    anew = tuned(project, asked)

    assert resumed.found.winner.values == again.found.winner.values == anew.found.winner.values
    assert (resumed.found.made, again.found.made) == (anew.found.made - 7, 0)
    assert not resumed.written


def test_what_helps_one_skill_alone_is_not_written_where_another_is_lost(project: Path) -> None:
    """What is tuned by has `next` alone, and weights cost something: `upper`, which passed, no longer does."""
    rewrite(project, "upper = 0.5, next = 0.5", "upper = 0.9, next = 0.3")
    before = (project / "brick.toml").read_bytes()
    misled = wish("next.jsonl", trials=12, alpha=0.5)
    done = tuned(project, misled)

    assert [pair.before.check.name for pair in done.held_out if pair.is_lost] == ["upper"]
    assert (done.found.is_new, done.is_better, done.written) == (True, False, False)
    assert (project / "brick.toml").read_bytes() == before
    assert tuned(project, replace(misled, force=True)).written


def test_another_method_and_numbers_over_depth_share_the_trials(project: Path) -> None:
    done = tuned(project, wish(methods=("ties", "linear"), points=2, trials=3, dry_run=True))

    assert done.found.tried == 3
    assert done.found.start.space.label == "task_arithmetic"
    assert len(done.found.start.values) == 4


def test_an_example_that_a_check_has_is_refused_with_both_places(project: Path) -> None:
    line = (project / "checks/next.jsonl").read_text().splitlines(keepends=True)[2]
    with (project / "next.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(UsageFault, match="held out") as caught:
        tuned(project, wish())
    assert str(caught.value.place) == "next.jsonl line 7"
    assert "checks/next.jsonl line 3" in caught.value.causes[0]


def test_an_example_that_is_only_written_in_another_way_is_refused_too(project: Path) -> None:
    """As a text, where the check asks for its end; and with other spaces."""
    held = json.loads((project / "checks/next.jsonl").read_text().splitlines()[2])
    for text in (held["prompt"] + held["completion"], held["prompt"] + "\n"):
        (project / "texts.jsonl").write_text(json.dumps({"text": text}) + "\n")
        with pytest.raises(UsageFault, match="held out") as caught:
            tuned(project, wish("upper.jsonl", "texts.jsonl"))
        assert "checks/next.jsonl line 3" in caught.value.causes[0]


def test_a_check_that_cannot_measure_is_told_of_before_the_search(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> Any:
        raise Unsupported("the harness is not installed")

    monkeypatch.setattr(ExactMatch, "measure", missing)
    monkeypatch.setattr(tuning, "reached", lambda *_: pytest.fail("searched before"))
    with pytest.raises(Unsupported, match="not installed"):
        tuned(project, wish())


@pytest.mark.parametrize(
    ("more", "fault", "told"),
    [
        ({"target": "asistant"}, NotFound, "no target"),
        ({"target": "sorter"}, NotFound, "no check"),
        ({"target": "bundle"}, UsageFault, "nothing to tune"),
        ({"data": ()}, UsageFault, "examples that no check decides by"),
        ({"data": (Path("upper.jsonl"), Path("upper.jsonl"))}, UsageFault, "given twice"),
        ({"data": (Path("upper.jsonl"), Path("checks/../upper.jsonl"))}, UsageFault, "given twice"),
        ({"only": ("wieght", "weight")}, UsageFault, "did you mean `weight`"),
        ({"data": (Path("nothing.jsonl"),)}, NotFound, "does not exist"),
        ({"methods": ("tiess",)}, UsageFault, "no merge method"),
        ({"methods": ("fisher",)}, UsageFault, "needs statistics"),
        ({"only": ("density",)}, UsageFault, "nothing of `assistant` can be turned"),
    ],
)
def test_what_cannot_be_tuned_is_said_before_anything_is_built(
    more: dict[str, Any], fault: type[BrickctlError], told: str, project: Path
) -> None:
    with pytest.raises(fault) as caught:
        tuned(project, wish(**more))
    assert told in str(caught.value)
    assert not (project / ".brickctl/tuning").exists()


def test_brick_toml_that_somebody_saved_meanwhile_is_left_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = tuning_workflow._reached

    def slow(*given: Any) -> Any:
        with (project / "brick.toml").open("a") as file:
            file.write("# mine\n")
        return reached(*given)

    monkeypatch.setattr(tuning_workflow, "_reached", slow)
    with pytest.raises(Busy):
        tuned(project, wish(trials=4))
    assert "# tuned" not in (project / "brick.toml").read_text()


def test_a_file_that_cannot_be_edited_is_refused_before_the_work(project: Path) -> None:
    """One check stands above everything else, and tomlkit would move it."""
    head, first, second = (project / "brick.toml").read_text().split("[[checks]]")
    (project / "brick.toml").write_text(f"[[checks]]{first}{head}[[checks]]{second}")
    with pytest.raises(ManifestInvalid, match="cannot be edited safely") as caught:
        tuned(project, wish())
    assert "--dry-run" in str(caught.value.hint)
    assert not (project / ".brickctl/tuning").exists()


@pytest.mark.parametrize("library", ["optuna", "cmaes", "scipy"])
def test_without_optuna_it_is_said_how_to_get_it(library: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(Unsupported, match="installed") as caught:
        tuned(project, wish())
    assert caught.value.hint == "pip install 'brickctl[tune]'"
