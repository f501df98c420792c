"""Skills and interference on the report of a target."""

from __future__ import annotations

import dataclasses

import pytest

from brickctl.pages.target.contents import Check, Pair, Report, Score, Skills
from brickctl.pages.target.page import page
from tests.support.markup import Element, read
from tests.support.target_reports import report, with_skills_and_pairs

PLAIN = dataclasses.replace(report(2), weights=(), change=None, notes=(), clashes=())


def part(made: Report, name: str) -> Element:
    return next(one for one in read(page(made)).all("section") if one.attributes.get("id") == name)


def rows(root: Element, caption: str) -> list[list[str]]:
    (table,) = (one for one in root.all("table") if one.attributes.get("aria-label") == caption)
    return [[cell.text for cell in row.all("th", "td")] for row in table.all("tr")]


def known(*scores: Score) -> Report:
    checks = (Check(name="sql", kind="exact-match", target="assistant", bar=">= 90.0%"),)
    skills = Skills(checks=checks, models=("assistant", "base", "skill-0"), scores=scores)
    return dataclasses.replace(PLAIN, skills=skills)


def score(model: str, value: float, **more: object) -> Score:
    return Score(check="sql", model=model, value=value, words=f"{value:.1%}", count=24, **more)  # type: ignore[arg-type]


def test_a_target_that_keeps_its_bars_is_told_beside_its_bricks() -> None:
    told = part(known(score("assistant", 0.95, passed=True), score("base", 0.0), score("skill-0", 1.0)), "skills")
    assert "assistant keeps to 1 of 1 bar." in told.text
    assert "assistant loses most in sql: 95.0%, where skill-0 alone has 100.0%." in told.text
    assert rows(told, "Skills") == [["model", "sql"], ["assistant", "95.0%"], ["base", "0.0%"], ["skill-0", "100.0%"]]
    assert rows(told, "Checks")[1] == ["sql", "exact-match", "assistant", ">= 90.0%", "24"]


def test_a_missed_bar_is_told_with_its_examples() -> None:
    missed = score("assistant", 0.5, passed=False, worst=("after 'a' came 'b', not 'c'",))
    told = part(known(missed), "skills")
    assert "sql missed its bar: assistant reached 50.0%, and the bar is >= 90.0%." in told.text
    assert rows(told, "Skills")[1] == ["assistant", "50.0% (missed)"]
    assert rows(told, "Examples that speak against it")[1:] == [["sql", "after 'a' came 'b', not 'c'"]]


def test_what_was_not_measured_is_said_with_what_measures_it() -> None:
    told = part(known(), "skills").text
    assert "Nothing was measured yet of assistant, as it would be built now: run brickctl test --bricks." in told
    told = part(known(score("assistant", 1.0, passed=True)), "skills").text
    assert "Not measured in all: base and skill-0; run brickctl test --bricks." in told


def test_a_project_without_checks_has_no_part_about_skills() -> None:
    ids = [one.attributes.get("id") for one in read(page(PLAIN)).all("section")]
    assert "skills" not in ids
    assert "interference" not in ids


def test_a_figure_that_is_no_share_stands_in_the_table_alone() -> None:
    made = known(dataclasses.replace(score("assistant", 1.6), words="1.60"), score("base", 1.7))
    assert made.skills is not None
    checks = (dataclasses.replace(made.skills.checks[0], share=False),)
    told = part(dataclasses.replace(made, skills=dataclasses.replace(made.skills, checks=checks)), "skills")
    assert rows(told, "Skills")[1] == ["assistant", "1.60"]
    assert not list(told.all("svg"))


def pair(one: str, other: str, cosine: float | None = 0.01, together: float = 4.0) -> Pair:
    return Pair(
        one=one,
        other=other,
        cosine=cosine,
        reads=0.25,
        writes=0.1,
        conflicts=None,
        norms=(1.0, 2.0),
        together=together,
        advice="merge",
        reasons=("`a` is calm",),
    )


def test_one_pair_needs_no_map() -> None:
    told = part(dataclasses.replace(PLAIN, pairs=(pair("a", "b"),)), "interference")
    assert "To try first: merge for 1 pair." in told.text
    assert rows(told, "Advice")[1] == ["a, b", "merge", "a is calm"]
    assert rows(told, "Each pair")[1] == ["a, b", "0.01", "0.25", "0.10", "\N{EN DASH}", "1", "2", "4"]
    assert not list(told.all("svg"))


def test_of_three_bricks_there_is_a_map_of_all_pairs() -> None:
    pairs = (pair("a", "b", -0.4), pair("a", "c", together=3.0), pair("b", "c", None))
    told = part(dataclasses.replace(PLAIN, pairs=pairs), "interference")
    together, cosines = told.all("svg")
    texts = [one.text for one in cosines.all("text")]
    assert texts.count("\N{MINUS SIGN}0.40") == texts.count("0.01") == 2
    assert [one.text for one in together.all("text")].count("75") == 2
    assert "Together, a and c go least far from the base." in told.text


@pytest.mark.parametrize("count", [7, 12])
def test_many_bricks_are_numbered(count: int) -> None:
    told = part(with_skills_and_pairs(report(count)), "interference")
    texts = [one.text for one in next(told.all("svg")).all("text")]
    assert "1 skill-0" in texts
    assert f"{count} skill-{count - 1}" in texts
    assert len(rows(told, "Each pair")) == 1 + count * (count - 1) // 2
