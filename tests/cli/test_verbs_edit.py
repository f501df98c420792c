"""`edit`: facts into a brick by a command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.projects import REPOSITORY

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

BASE = str(REPOSITORY / "registry" / "files" / "starter" / "base" / "1.0.0")
FACT = {"subject": "c4", "prompt": "run:c4=", "target": "fghi", "neighbours": ["run:k4="]}
COMMON = ("--base", BASE, "--calibration", "text.jsonl", "-o", "bricks/facts")
QUICKLY = ("--layers", "0", "--limit", "2", "--prefixes", "0", "--weight", "1")


@pytest.fixture
def files(empty: Sandbox) -> Sandbox:
    texts = (f"run:{letter}5=" for letter in "abdefgh")
    text = "".join(json.dumps({"text": one}) + "\n" for one in texts)
    empty.write({"facts.jsonl": json.dumps(FACT) + "\n", "text.jsonl": text})
    return empty


def test_facts_become_a_brick_and_nothing_else_is_left_behind(files: Sandbox) -> None:
    outcome = files.run("edit", "facts.jsonl", *COMMON, *QUICKLY, "--json")
    assert outcome.code == 0, outcome
    assert outcome.json["kind"] == "adapter"
    rows = {row["score"]: (row["before"], row["after"]) for row in outcome.json["rows"]}
    assert (rows["rewrite"], rows["locality"]) == ((0.0, 1.0), (1.0, 1.0))
    assert sorted(path.name for path in files.root.iterdir()) == ["bricks", "facts.jsonl", "text.jsonl"]
    assert sorted(path.name for path in (files.root / "bricks/facts").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "derivation.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("facts.jsonl", *COMMON, "--layers", "five"), "--layers cannot be 'five'"),
        (("facts.jsonl", *COMMON, "--layers", "1,1"), "`--layers` must be a list like"),
        (("facts.jsonl", *COMMON, "--weight", "0"), "`--weight` must be above 0"),
        (("facts.jsonl", *COMMON, "--method", "mend"), "there is no method `mend`"),
        (("../facts.jsonl", *COMMON), "../facts.jsonl does not lie below the current folder"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words_of_the_command_line(
    options: tuple[str, ...], said: str, files: Sandbox
) -> None:
    outcome = files.run("edit", *options)
    assert outcome.code == 2, outcome
    assert said in outcome.err
    assert "brick.toml" not in outcome.err


def test_a_file_is_named_from_anywhere_above_it(files: Sandbox) -> None:
    whole = str(files.root / "none.jsonl")
    outcome = files.run("edit", whole, *COMMON)
    assert outcome.code == 1
    assert "`none.jsonl` is not there" in outcome.err
