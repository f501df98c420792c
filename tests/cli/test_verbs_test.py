"""`brickctl test`: gates, tables, reports for CI, and results that are accepted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from junitparser import Error, Failure, JUnitXml

from brickctl.analysis.checks.check import Gate
from brickctl.analysis.checks.exact_match import ExactMatch
from brickctl.analysis.checks.measured import Bar, Wrong
from brickctl.core.accepted import FILE
from brickctl.core.names import Alias
from brickctl.workflows.checking import telling
from brickctl.workflows.checking.junit import junit
from brickctl.workflows.checking.score import Score

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

MERGED, AVERAGE = "{ upper = 0.9, next = 0.9 }", "{ upper = 0.5, next = 0.5 }"
KEPT = '\n[[checks]]\nname = "kept"\ntarget = "assistant"\nkind = "regression"\nof = "next"\ntolerance = 0.1\n'
GATE = Gate(
    name="sums", target=Alias("chat"), kind=ExactMatch(), kind_name="exact-match", data="d", bar=Bar("min", 0.9)
)


@pytest.fixture
def starter(empty: Sandbox) -> Sandbox:
    """The starter project in a sandbox, with five items of each check."""
    assert empty.run("init", ".", "--template", "starter").code == 0
    for data in (empty.root / "checks").glob("*.jsonl"):
        data.write_text("".join(data.read_text().splitlines(keepends=True)[:5]))
    return empty


def rewrite(sandbox: Sandbox, old: str, new: str) -> None:
    path = sandbox.root / "brick.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_gate_that_is_missed_shows_skill_figure_bar_and_the_three_worst(starter: Sandbox) -> None:
    rewrite(starter, MERGED, AVERAGE)
    outcome = starter.run("test", "next", "upper", "--junit", "reports/checks.xml")

    assert outcome.code == 8
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["next", "assistant", "0.0%", ">=", "90.0%", "MISSED"] in rows
    causes = [line.partition("cause: ")[2] for line in outcome.err.splitlines() if "cause: " in line]
    assert "`next` on `assistant` reached 0.0%, not >= 90.0%" in causes
    after = causes.index("`next` on `assistant` reached 0.0%, not >= 90.0%")
    examples = [json.loads(line) for line in (starter.root / "checks/next.jsonl").read_text().splitlines()[:3]]
    for cause, example in zip(causes[after + 1 : after + 4], examples, strict=True):
        assert cause.startswith(f"after {example['prompt']!r} came ")
        assert cause.endswith(f", not {example['completion']!r}")

    (suite,) = JUnitXml.fromfile(str(starter.root / "reports/checks.xml"))
    cases = {case.name: case for case in suite}
    (failure,) = cases["next"].result
    assert isinstance(failure, Failure)
    assert failure.message == "`next` on `assistant` reached 0.0%, not >= 90.0%"
    assert failure.text.splitlines() == causes[after + 1 : after + 4]
    assert (suite.name, suite.tests, suite.failures) == ("assistant", 2, sum(bool(case.result) for case in suite))


def test_a_second_run_says_that_it_measured_nothing(starter: Sandbox) -> None:
    first = starter.run("test", "next", "--json").json
    outcome = starter.run("test", "next")
    assert outcome.out.splitlines()[1].endswith("ok, known")
    assert "all results are known from an earlier run" in outcome.err

    second = starter.run("test", "next", "--json").json
    (before,), (after,) = first["scores"], second["scores"]
    assert (before.pop("cached"), after.pop("cached")) == (False, True)
    assert before == after
    assert before["bar"] == {"min": 0.9}
    assert before["artifact"].startswith("sha256:")
    assert starter.run("test", "next", "--force", "--json").json["scores"][0]["cached"] is False


def test_results_are_accepted_and_later_ones_held_against_them(starter: Sandbox) -> None:
    rewrite(starter, '[[checks]]\nname = "copy"', KEPT + '\n[[checks]]\nname = "copy"')
    outcome = starter.run("test", "kept")
    assert outcome.code == 8
    assert "NOT COMPARED" in outcome.out
    assert "no result of `next` was accepted yet" in outcome.err
    assert "hint: look at the figure; if it may stay, run `brickctl test --accept`" in outcome.err

    assert starter.run("test", "next", "kept", "--accept", "--json").json["accepted"] is True
    assert starter.run("test", "kept").code == 0

    rewrite(starter, MERGED, AVERAGE)
    rewrite(starter, 'data = "checks/next.jsonl"\nmin = 0.9', 'data = "checks/next.jsonl"\nmin = 0.0')
    outcome = starter.run("test", "next", "kept")
    assert outcome.code == 8
    assert "`kept` on `assistant` reached 0.0%, not >= 90.0%, by what was accepted of `next`" in outcome.err

    outcome = starter.run("test", "next", "kept", "--accept")
    assert outcome.code == 0
    assert "accepted anew" in outcome.out
    assert "value = 0.0, count = 5" in (starter.root / FILE).read_text()


def test_accepting_a_regression_accepts_what_it_is_about(starter: Sandbox) -> None:
    rewrite(starter, '[[checks]]\nname = "copy"', KEPT + '\n[[checks]]\nname = "copy"')
    assert starter.run("test", "kept", "--accept", "--json").json["accepted"] is True
    assert 'check = "next"' in (starter.root / FILE).read_text()
    assert starter.run("test", "kept").code == 0


def test_each_check_that_is_missed_has_its_own_examples_also_where_they_are_those_of_another(starter: Sandbox) -> None:
    rewrite(starter, MERGED, AVERAGE)
    twice = (
        '[[checks]]\nname = "again"\ntarget = "assistant"\nkind = "exact-match"\ndata = "checks/next.jsonl"\nmin = 1\n'
    )
    rewrite(starter, '[[checks]]\nname = "copy"', twice + '\n[[checks]]\nname = "copy"')
    outcome = starter.run("test", "next", "again")
    assert outcome.code == 8
    causes = [line.partition("cause: ")[2] for line in outcome.err.splitlines() if "cause: " in line]
    assert len(causes) == 8
    assert causes[1:4] == causes[5:]


@pytest.mark.parametrize(
    ("value", "bar", "words"),
    [
        (0.8996, Bar("min", 0.9), "reached 89.96%, not >= 90.00%"),
        (0.2, Bar("min", 0.9), "reached 20.0%, not >= 90.0%"),
        (math.nan, Bar("min", 0.9), "reached nan%, not >= 90.0%"),
        (0.9, Bar("min", 0.9), "reached 90.0%, not >= 90.0%"),
    ],
)
def test_a_figure_just_below_its_bar_does_not_read_as_the_bar(value: float, bar: Bar, words: str) -> None:
    score = Score(check=replace(GATE, bar=bar), model=Alias("chat"), value=value, count=2)
    assert words in telling.missed(score)


def test_nothing_is_accepted_where_a_bar_is_missed(starter: Sandbox) -> None:
    rewrite(starter, MERGED, AVERAGE)
    rewrite(starter, '[[checks]]\nname = "copy"', KEPT + '\n[[checks]]\nname = "copy"')
    outcome = starter.run("test", "kept", "--accept")
    assert outcome.code == 8
    assert "nothing was accepted" in outcome.err
    assert "not accepted" in outcome.out
    assert "accepted anew" not in outcome.out
    assert not (starter.root / FILE).exists()


def test_a_kind_that_is_misspelt_is_told_by_every_verb(starter: Sandbox) -> None:
    rewrite(starter, 'kind = "perplexity"', 'kind = "perplexty"')
    for verb in (("lock",), ("tree",), ("test",)):
        outcome = starter.run(*verb)
        assert outcome.code == 2
        assert "did you mean `perplexity`?" in outcome.err


def test_a_report_replaces_nothing_but_a_report(starter: Sandbox) -> None:
    manifest = starter.root / "brick.toml"
    before = manifest.read_text()
    outcome = starter.run("test", "next", "--junit", "brick.toml")
    assert outcome.code == 2
    assert "brick.toml will not be replaced" in outcome.err
    assert not (starter.root / "dist").exists()
    assert manifest.read_text() == before
    for _ in range(2):
        assert starter.run("test", "next", "--junit", "checks.xml").code == 0


HOSTILE = "a\x00b\x1b[31m\ud800\ufffe]]>&<x>\u202e\r\n"


def test_nothing_in_a_prompt_breaks_a_report() -> None:
    wrong = Wrong(prompt=HOSTILE, wanted=HOSTILE, got=HOSTILE)
    scores = [
        Score(check=GATE, model=Alias("chat"), value=0.5, count=2, worst=(wrong,)),
        Score(check=GATE, model=Alias("chat"), value=0.5, count=2, worst=(wrong,), doubt=HOSTILE),
        Score(check=GATE, model=Alias("chat"), value=1.0, count=2),
        Score(check=GATE, model=Alias("brick"), value=0.0, count=2),
    ]
    report = junit(HOSTILE, scores)
    assert junit(HOSTILE, scores) == report
    root = ET.fromstring(report)  # noqa: S314 - our own
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "1")
    for text in (each for element in root.iter() for each in (element.text, *element.attrib.values()) if each):
        assert all(each.isprintable() or each == "\n" for each in text)
    (suite,) = JUnitXml.fromstring(report)
    assert [[type(result) for result in case.result] for case in suite] == [[Failure], [Error], []]
