"""`tune`."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.projects import TEMPLATE

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

WORDS = ("brick", "river", "stone")
AVERAGE = "{ upper = 0.5, next = 0.5 }"


@pytest.fixture
def starter(empty: Sandbox) -> Sandbox:
    """The starter project with the plain average, one check, and three words to tune by."""
    shutil.copytree(TEMPLATE, empty.root, dirs_exist_ok=True)
    text = empty.manifest.replace("{ upper = 0.9, next = 0.9 }", AVERAGE)
    head, _, following, *_ = text.split("[[checks]]")
    held_out = (empty.root / "checks/next.jsonl").read_text().splitlines(keepends=True)[:4]
    after = str.maketrans("abcdefghijklmnopqrstuvwxyz", "bcdefghijklmnopqrstuvwxyza")
    examples = [json.dumps({"prompt": f"next:{one}=", "completion": one.translate(after)}) + "\n" for one in WORDS]
    empty.write(
        {
            "brick.toml": f"{head}[[checks]]{following}",
            "checks/next.jsonl": "".join(held_out),
            "next.jsonl": "".join(examples),
        }
    )
    return empty


def test_what_was_found_is_shown_beside_what_stood_there(starter: Sandbox) -> None:
    arguments = ("tune", "assistant", "--data", "next.jsonl", "--trials", "6", "--threads", "1")
    tried = starter.run(*arguments, "--dry-run")
    assert tried.code == 0, tried.err
    assert AVERAGE in starter.manifest
    assert "held-out data is for what was found; brick.toml stays as it is (--dry-run)" in tried.err

    outcome = starter.run(*arguments)
    numbers, held_out = outcome.out.split("\n\n")
    assert outcome.out == tried.out
    assert [line.split()[:2] for line in numbers.splitlines()[1:]] == [["upper", "0.5"], ["next", "0.5"]]
    assert held_out.split() == ["held", "out", "before", "after", "next", "0.0%", "100.0%", "ok"]
    assert "assistant: brick.toml has what was found" in outcome.err
    assert "# tuned: held out: next 0.0% -> 100.0%" in starter.manifest


def test_the_answer_for_programs_has_numbers_losses_and_what_held_out_data_says(starter: Sandbox) -> None:
    options = ("--trials", "4", "--only", "weight", "--threads", "1", "--seed", "3", "--dry-run")
    answer = starter.run("tune", "assistant", "--data", "next.jsonl", *options, "--json").json

    assert (answer["target"], answer["seed"], answer["trials"], answer["written"]) == ("assistant", 3, 4, False)
    assert list(answer["numbers"]) == ["upper", "next"]
    assert answer["steps"][0]["bricks"] == answer["numbers"]
    assert answer["loss"]["after"] < answer["loss"]["before"]
    assert [(one["check"], one["before"]) for one in answer["held_out"]] == [("next", 0.0)]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("assistent",), 1, "did you mean `assistant`"),
        (("assistant",), 2, "--data sql.jsonl"),
        (("assistant", "--data", "next.jsonl", "--method", "tie"), 2, "there is no merge method `tie`"),
        (("assistant", "--data", "checks/next.jsonl"), 2, "stands in checks/next.jsonl line 1 too"),
        (("bundle", "--data", "next.jsonl"), 2, "name a target that merges bricks"),
    ],
)
def test_what_cannot_be_done_is_told_with_what_to_do(
    arguments: tuple[str, ...], code: int, told: str, starter: Sandbox
) -> None:
    outcome = starter.run("tune", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert told in outcome.err
