"""`suggest`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox


def test_what_is_suggested_is_shown_with_the_words_that_speak_for_it(empty: Sandbox) -> None:
    outcome = empty.run("suggest", "from", "its", "end")
    assert outcome.code == 0, outcome.err
    assert [line.split()[:5] for line in outcome.lines] == [
        ["brick", "from", "kind", "words", "summary"],
        ["starter/reverse", "builtin", "adapter", "end", "Answers"],
    ]
    assert "`brickctl add starter/reverse`" in outcome.err


def test_the_answer_for_programs_has_what_was_asked_and_why(empty: Sandbox) -> None:
    answer = empty.run("suggest", "capital", "letters", "--json", "--limit", "1").json
    (best,) = answer["bricks"]
    assert (answer["words"], answer["stages"], answer["more"]) == (["capital", "letters"], ["text"], True)
    assert {key: best[key] for key in ("name", "registry", "in-project", "words", "similarity", "loss")} == {
        "name": "starter/upper",
        "registry": "builtin",
        "in-project": False,
        "words": ["capital", "letters"],
        "similarity": None,
        "loss": None,
    }


def test_nothing_found_is_no_failure_and_says_what_to_do_next(empty: Sandbox) -> None:
    outcome = empty.run("suggest", "translate", "Latin")
    assert (outcome.code, outcome.out) == (0, "")
    assert "no brick has a word of the task (translate, latin): use other words" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("the", "of", "and"), "the task has no word that says what it is about"),
        (("--examples", "all.jsonl"), "no word stands in most of the examples: add words, or `--measure`"),
        (("zzz", "--examples", "all.jsonl"), "no brick has a word of the task (zzz)"),
        (("capital", "--registry", "builtin"), "`brickctl add starter/upper --registry builtin` adds the first one"),
    ],
)
def test_what_is_told_fits_what_was_asked(empty: Sandbox, arguments: tuple[str, ...], told: str) -> None:
    empty.write({"all.jsonl": '{"text": "one fox"}\n{"text": "two cows"}\n'})
    outcome = empty.run("suggest", *arguments)
    assert outcome.code == 0
    assert told in outcome.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "there is no task"),
        (("--examples", "none.jsonl"), "`none.jsonl` does not exist"),
        (("--examples", "bad.jsonl"), "this line is not valid JSON"),
        (("letters", "--embed"), "on the base of a project"),
        (("letters", "--registry", "nowhere"), "there is no registry `nowhere`"),
    ],
)
def test_a_task_that_cannot_be(empty: Sandbox, arguments: tuple[str, ...], told: str) -> None:
    empty.write({"bad.jsonl": "{\n"})
    outcome = empty.run("suggest", *arguments)
    assert outcome.code in {1, 2}
    assert told in outcome.err
