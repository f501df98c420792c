"""What a brick is for, in texts."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from brickctl.sources.open import builtin_registry
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.suggesting.candidates import of_project
from brickctl.workflows.suggesting.texts import MOST_TEXTS, OwnTexts, Shelf
from tests.support.projects import opened, rewrite, starter_project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter project without its prompts and with three lines in each check."""
    project = starter_project(tmp_path, monkeypatch)
    (project / "prompts.jsonl").unlink()
    for data in (project / "checks").glob("*.jsonl"):
        data.write_text("".join(data.read_text().splitlines(keepends=True)[:3]))
    return project


def texts(project: Path, name: str, *asked: str) -> OwnTexts:
    session = opened(project)
    candidates = of_project(session, current_lock(session, LockMode.REFRESH))
    return Shelf(session=session, asked=asked).of(next(one for one in candidates if one.name == name))


def test_the_data_of_a_check_that_bears_its_name_is_of_a_brick(project: Path) -> None:
    assert texts(project, "next").texts == ("next:lgxj=mhyk", "next:yhryde=ziszef", "next:svab=twbc")
    assert texts(project, "next").examples


def test_so_is_that_of_a_check_of_a_target_with_this_brick_alone(project: Path) -> None:
    rewrite(project, '[[checks]]\nname = "sort"', '[[checks]]\nname = "in-order"')
    assert texts(project, "sort").texts[0] == "sort:lgxj=gjlx"
    rewrite(project, 'name = "next"', 'name = "following"')  # its target has two bricks
    assert not texts(project, "next").examples


def test_a_check_of_a_target_with_something_derived_in_it_is_not_of_the_brick_beside_that(project: Path) -> None:
    text = (project / "brick.toml").read_text()
    derived = '[derived.half]\nop = "extract-lora"\nfrom = "sort"\nrank = 2\n'
    target = '[targets.both]\napply = [{ op = "merge", method = "task_arithmetic", bricks = { next = 1, half = 1 } }]\n'
    check = '[[checks]]\nname = "both"\ntarget = "both"\nkind = "exact-match"\nmin = 0\ndata = "checks/next.jsonl"\n'
    head = text[: text.index("[targets.")]
    (project / "brick.toml").write_text(f"{head}{derived}{target}{check}")
    assert not texts(project, "next").examples
    rewrite(project, "next = 1, half = 1", "next = 1")
    assert texts(project, "next").examples


def test_labelled_prompts_come_first_and_no_more_than_enough(project: Path) -> None:
    lines = [json.dumps({"text": f"next {at}", "label": "next"}) for at in range(40)]
    (project / "prompts.jsonl").write_text("\n".join(lines))
    assert texts(project, "next").texts == tuple(f"next {at}" for at in range(MOST_TEXTS))


def test_texts_of_the_task_are_no_evidence(project: Path) -> None:
    assert texts(project, "next", "next:svab=twbc").texts == ("next:lgxj=mhyk", "next:yhryde=ziszef")
    (project / "checks/next.jsonl").write_text('{"prompt": "next:a=", "completion": "b"}\n')
    assert not texts(project, "next", "next:a=b").examples


def test_without_examples_it_is_what_is_said_of_the_brick(project: Path) -> None:
    (project / "checks/next.jsonl").unlink()
    said = "next: Answers next:fox= with gpy: every letter becomes the next of the alphabet"
    assert texts(project, "next") == OwnTexts(texts=(said,), examples=False)


def test_json_lines_beside_a_brick_are_its_examples_if_they_can_be_read(project: Path) -> None:
    shutil.copytree(builtin_registry() / "files/starter/odd/1.0.0", project / "mine")
    rewrite(project, "[bricks]\n", '[bricks]\nmine = { source = "path:mine" }\n')
    (project / "mine" / "a.jsonl").write_text("no JSON\n")
    (project / "mine" / "b.jsonl").write_bytes(b"\xff\n")
    (project / "mine" / "c.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (project / "mine" / "d.jsonl").write_text('{"text": "' + "x" * 1_000_000 + '"}\n')
    assert texts(project, "mine") == OwnTexts(texts=("ab",), examples=True)
    (project / "mine" / "c.jsonl").unlink()
    assert texts(project, "mine") == OwnTexts(texts=("mine",), examples=False)
