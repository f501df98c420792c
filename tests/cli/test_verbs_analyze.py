"""`brickctl analyze` on the starter project, as a new user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

FEW = ("--tokens", "300", "--threads", "1")


@pytest.fixture
def starter(empty: Sandbox) -> Sandbox:
    assert empty.run("init", "--template", "starter").code == 0
    return empty


@pytest.mark.full
def test_a_new_project_is_analysed_at_once(starter: Sandbox) -> None:
    outcome = starter.run("analyze", *FEW, "--offline")
    assert outcome.code == 0, outcome
    for heading in ("sparsity", "specialisation", "partition", "perturbation", "bricks"):
        assert heading in outcome.lines
    assert any(line.startswith("best 1% pruned") for line in outcome.lines)
    assert next(line for line in outcome.lines if line.startswith("fewest")).split()[1:3] == ["upper", "next"]
    folder = starter.root / "analysis" / "assistant"
    assert outcome.lines[-1] == str(folder / "report.html")
    assert sorted(path.name for path in folder.iterdir()) == ["analysis.json", "report.html"]
    assert "assistant in " in outcome.err
    assert ": this takes about " in outcome.err

    again = starter.run("analyze", *FEW, "--offline")
    assert again.out == outcome.out
    assert "this takes" not in again.err


def test_programs_get_the_whole_document(starter: Sandbox) -> None:
    outcome = starter.run("analyze", "base", *FEW, "--only", "partition", "-o", "seen", "--png", "--json")
    assert outcome.code == 0, outcome
    answer = outcome.json
    assert answer["folder"] == str(starter.root / "seen")
    assert answer["files"] == ["analysis.json", "report.html", "plots/partition-overlap.png"]
    assert answer["analysis"] == json.loads((starter.root / "seen" / "analysis.json").read_text())
    assert "partition" in answer["analysis"]
    assert "specialisation" not in answer["analysis"]


def test_a_folder_is_analysed_with_prompts_of_ones_own_and_without_a_project(starter: Sandbox) -> None:
    assert starter.run("build", "assistant").code == 0
    elsewhere = starter.home / "elsewhere"
    elsewhere.mkdir(parents=True)
    lines = (starter.root / "prompts.jsonl").read_text().splitlines(keepends=True)
    (elsewhere / "mine.jsonl").write_text("".join(lines[::20]))
    model = str(starter.root / "dist" / "assistant")
    outcome = starter.run("analyze", model, "--prompts", "mine.jsonl", "--only", "sparsity", *FEW, cwd=elsewhere)
    assert outcome.code == 0, outcome
    assert (elsewhere / "analysis" / "assistant" / "report.html").is_file()


def test_quiet_says_nothing_beside_the_figures(starter: Sandbox) -> None:
    outcome = starter.run("analyze", "base", *FEW, "--only", "partition", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.lines[0] == "partition"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device here")
def test_a_device_that_is_not_there_is_told_before_anything_is_built(starter: Sandbox) -> None:
    outcome = starter.run("analyze", "--device", "cuda")
    assert outcome.code == 2
    assert "there is no device `cuda` here" in outcome.err
    assert not (starter.root / "dist").exists()
