"""What is said of facts that were written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from brickctl.analysis.editing.facts import Fact
from brickctl.analysis.editing.scores import Scores
from brickctl.derivations.edit_report import notes_of, table_of

BEFORE = Scores(said=(False,), rewrite=0.0, likelier=0.0, rephrase=None, locality=1.0, perplexity=12.3456)
AFTER = Scores(said=(True,), rewrite=1.0, likelier=1.0, rephrase=None, locality=0.66666, perplexity=12.5)


def noted(facts: list[Fact], ends: list[int], said: tuple[bool, ...], *, traced: bool = False) -> list[str]:
    told = [SimpleNamespace(sentences=[SimpleNamespace(subject=end)]) for end in ends]
    written = [SimpleNamespace(site=SimpleNamespace(layer=layer), error=layer / 1e4) for layer in (3, 4)]
    after = Scores(said=said, rewrite=0.5, likelier=1.0, rephrase=None, locality=None, perplexity=9.0)
    return list(notes_of(facts, cast("Any", told), cast("Any", written), after, traced=traced))


def test_a_score_that_nothing_was_asked_for_is_none() -> None:
    assert list(table_of(BEFORE, AFTER)) == [
        {"score": "rewrite", "before": 0.0, "after": 1.0},
        {"score": "likelier", "before": 0.0, "after": 1.0},
        {"score": "rephrase", "before": None, "after": None},
        {"score": "locality", "before": 1.0, "after": 0.667},
        {"score": "perplexity", "before": 12.3, "after": 12.5},
    ]


def test_notes_say_where_and_what_went_wrong() -> None:
    france = Fact(subject="France", prompt="The capital of France is", target=" Rome")
    apple = Fact(subject="Apple", prompt="Apple was founded by", target="Ada")
    tokyo = Fact(subject="東京", prompt="東京は", target="大阪")
    assert noted([france, tokyo], [3, 1], (True, True), traced=True) == [
        "written at layer 3, 4 (found by tracing); a value is missed by 0.0004 of its length at most"
    ]
    _, deaf, first, grown = noted([france, apple], [3, 0], (True, False))
    assert deaf == "not said: `Apple`"
    assert first.startswith("the subject is the first token of a prompt for `Apple`; the key there is that of every")
    assert grown == "targets stand right behind prompts: `le was founded byAda`; is there no space?"


def test_many_facts_that_are_not_said_are_counted() -> None:
    facts = [Fact(subject=f"s{n}", prompt=f"s{n} is ", target="t") for n in range(7)]
    assert noted(facts, [1] * 7, (False,) * 7)[1] == "not said: `s0`, `s1`, `s2`, `s3`, `s4` and 2 more"
