"""Every way in which an analysis is refused: read the snapshot as a user would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.sources.open import builtin_registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

CODE, FRENCH = '{"text": "a = 1", "label": "code"}\n', '{"text": "oui", "label": "french"}\n'
MODEL = str(builtin_registry() / "files" / "starter" / "base" / "1.0.0")

ASKED: dict[str, tuple[str, ...]] = {
    "a name that is nothing": ("asistant",),
    "a name of a folder": ("models",),
    "a folder without a model": ("./models",),
    "a measurement that is none": ("--only", "partitions"),
    "prompts that are not there": ("--prompts", "none.jsonl"),
    "no tokens": ("--tokens", "0"),
    "a device that is none": ("--device", "gpu"),
    "bricks of the base": ("base", "--only", "bricks"),
    "bricks of a stack": ("bundle", "--only", "bricks"),
    "a folder of somebody else": ("--output", "models"),
    "a lock that may not be made": ("--locked",),
}
PROMPTS: dict[str, str] = {
    "no prompt": "",
    "a line that is no JSON": f"{CODE}label: french\n",
    "a label that is none": f'{CODE}{{"text": "oui", "label": "Français"}}\n',
    "a text under two labels": f'{CODE}{FRENCH}{{"text": "oui", "label": "code"}}\n',
    "a misspelt key": f'{CODE}{{"txt": "oui", "label": "french"}}\n',
    "one label": CODE,
}


@pytest.fixture
def starter(empty: Sandbox) -> Sandbox:
    empty.run("init", "--template", "starter")
    empty.write({"notes.txt": "years of work"}, "models")
    return empty


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_for_cannot_be(
    name: str, starter: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    outcome = starter.run("analyze", *ASKED[name])
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_that_are_none(
    name: str, starter: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    starter.write({"mine.jsonl": PROMPTS[name]})
    outcome = starter.run("analyze", "base", "--prompts", "mine.jsonl", "--only", "partition")
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot


def test_no_project_and_no_folder(empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion) -> None:
    assert said(empty.run("analyze", "assistant")) == snapshot


def test_a_folder_without_prompts(empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion) -> None:
    outcome = empty.run("analyze", MODEL)
    assert outcome.code != 0, outcome
    assert said(outcome) == snapshot
