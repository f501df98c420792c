"""`unlearn`: a brick taken out of a model again, and what became of its facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from tests.support.projects import REPOSITORY

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

BASE = str(REPOSITORY / "registry" / "files" / "starter" / "base" / "1.0.0")
FACT = {"subject": "c4", "prompt": "run:c4=", "target": "fghi", "neighbours": ["run:k4="]}
MEASURE = ("--facts", "facts.jsonl", "--calibration", "text.jsonl")


@pytest.fixture
def edited(empty: Sandbox) -> Sandbox:
    """A folder with a brick that holds a fact, and a model that it was merged into, in F32."""
    text = "".join(json.dumps({"text": f"run:{letter}5="}) + "\n" for letter in "abdefgh")
    empty.write({"facts.jsonl": json.dumps(FACT) + "\n", "text.jsonl": text})
    made = ("-o", "brick", "--layers", "0", "--limit", "2", "--prefixes", "0", "--weight", "1")
    outcome = empty.run("edit", "facts.jsonl", "--base", BASE, "--calibration", "text.jsonl", *made)
    assert outcome.code == 0, outcome
    outcome = empty.run("merge", BASE, "./brick", "--dtype", "float32", "-o", "edited")
    assert outcome.code == 0, outcome
    return empty


def test_what_was_taught_is_forgotten_and_the_rest_is_as_it_was(edited: Sandbox) -> None:
    outcome = edited.run("unlearn", "./edited", "./brick", *MEASURE, "-o", "plain", "--json")
    assert outcome.code == 0, outcome
    rows = {row["score"]: (row["before"], row["after"]) for row in outcome.json["rows"]}
    assert (rows["rewrite"], rows["locality"]) == ((1.0, 0.0), (1.0, 1.0))
    assert outcome.json["notes"] == []
    (built,) = outcome.json["targets"]
    was, now = load_file(Path(BASE, "model.safetensors")), load_file(Path(built["folder"], "model.safetensors"))
    for name, weight in was.items():
        torch.testing.assert_close(now[name], weight.float(), rtol=0, atol=1e-6)
    names = sorted(path.name for path in edited.root.iterdir())
    assert names == ["brick", "edited", "facts.jsonl", "plain", "text.jsonl"]


def test_what_is_still_said_is_named(edited: Sandbox) -> None:
    outcome = edited.run("unlearn", "./edited", "./brick", *MEASURE, "--weight", "0.01", "-o", "plain")
    assert outcome.code == 0, outcome
    assert "note: plain: still said: `c4`" in outcome.err
    assert outcome.lines[0].split() == ["score", "before", "after"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--facts", "none.jsonl", "--calibration", "text.jsonl"), "none.jsonl"),
        (("--facts", "text.jsonl", "--calibration", "text.jsonl"), "text.jsonl"),
        ((*MEASURE, "--weight", "-1"), "--weight"),
    ],
)
def test_what_cannot_be_measured_is_not_built(options: tuple[str, ...], said: str, empty: Sandbox) -> None:
    empty.write({"facts.jsonl": json.dumps(FACT) + "\n", "text.jsonl": '{"text": "run:a5="}\n'})
    outcome = empty.run("unlearn", BASE, BASE, *options, "-o", "plain")
    assert outcome.code != 0
    assert said in outcome.err
    assert not (empty.root / "plain").exists()


def test_what_was_built_stays_where_it_cannot_be_measured(edited: Sandbox) -> None:
    """A question that is longer than what the model reads is known once the model is loaded."""
    edited.write({"long.jsonl": json.dumps({**FACT, "prompt": "run:c4=" * 400}) + "\n"})
    measure = ("--facts", "long.jsonl", "--calibration", "text.jsonl")
    outcome = edited.run("unlearn", "./edited", "./brick", *measure, "-o", "plain")
    assert outcome.code == 2, outcome
    assert "plain is built and whole: only its scores are missing" in outcome.err
    assert edited.run("verify", "plain").code == 0
    names = sorted(path.name for path in edited.root.iterdir())
    assert names == ["brick", "edited", "facts.jsonl", "long.jsonl", "plain", "text.jsonl"]
