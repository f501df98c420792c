"""One prompt for whatever can be run: targets of every form, bricks, the base, and folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.analysis.streaming import Manner
from brickctl.errors import NotFound, UsageFault
from brickctl.tensors.executor import Budget
from brickctl.workflows.lock import LockMode
from brickctl.workflows.running.run import Ran, Request, Stage, run
from tests.support.building import manifest
from tests.support.models import adapter
from tests.support.projects import opened, starter_project
from tests.support.routing import model_of_words

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.workflows.session import Session


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    return opened(starter_project(tmp_path, monkeypatch))


def asked(session: Session | None, name: str, prompt: str, adapter: str | None = None) -> tuple[Ran, str]:
    """The answer, and what is said of how it came about."""
    told: list[str] = []
    pieces: list[str] = []
    stage = Stage(session=session, mode=LockMode.REFRESH, budget=Budget(threads=1))
    request = Request(name=name, prompt=prompt, manner=Manner(max_tokens=12), adapter=adapter)
    ran = run(stage, request, told.append, pieces.append)
    assert "".join(pieces) == ran.text
    return ran, " ".join(told)


def test_a_target_is_built_and_answers(project: Session) -> None:
    ran, told = asked(project, "assistant", "upper:fox=")
    assert (ran.text, ran.ended, ran.adapter) == ("FOX", True, None)
    assert told == "the prompt goes in raw: the model has no chat template"
    assert (project.root / "dist/assistant/model.safetensors").is_file()


def test_a_stack_answers_with_its_active_adapter_or_the_one_that_is_named(project: Session) -> None:
    ran, told = asked(project, "bundle", "reverse:fox=")
    assert (ran.text, ran.adapter) == ("xof", "reverse")
    assert told.startswith("`reverse` answers; ")
    assert asked(project, "bundle", "odd:fox=", "odd")[0].text == "fx"
    assert asked(project, "bundle", "zzz:fox=", "base")[0].text == "fox"
    folder = str(project.root / "dist/bundle")
    assert asked(None, folder, "odd:fox=", "odd")[0].text == "fx"
    told = asked(None, folder, "zzz:fox=")[1]
    assert told.startswith("the model answers without its adapters (next, odd, reverse, upper: `--adapter NAME`); ")
    with pytest.raises(NotFound, match="no adapter `od`") as raised:
        asked(project, "bundle", "odd:fox=", "od")
    assert "did you mean `odd`?" in str(raised.value)


def test_the_base_and_a_brick_answer_and_leave_nothing_behind(project: Session) -> None:
    assert asked(project, "base", "zzz:fox=")[0].text == "fox"
    assert asked(project, "next", "next:fox=")[0].text == "gpy"
    assert not (project.root / "dist").exists()


def test_a_route_answers_by_its_router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "cache"))
    base = model_of_words(tmp_path / "base")
    bricks = {name: adapter(base, tmp_path / name, seed=seed, r=2) for seed, name in enumerate(("plain", "other"), 1)}
    project = tmp_path / "project"
    project.mkdir()
    step = '{ op = "route", method = "arrow", bricks = ["plain", "other"] }'
    (project / "brick.toml").write_text(manifest(base, bricks, step))
    ran, told = asked(opened(project), "t", "w4 w5")
    assert ran.adapter is None
    assert told.startswith("the router chooses who answers; ")
    with pytest.raises(UsageFault, match="has a router"):
        asked(opened(project), "t", "w4 w5", "plain")


def test_a_chat_template_is_used_unless_the_prompt_is_to_go_in_raw(project: Session) -> None:
    (project.root / "chat.jinja").write_text("{% for m in messages %}upper:{{ m.content }}={% endfor %}")
    text = (project.root / "brick.toml").read_text()
    step = 'bricks = { upper = 0.9, next = 0.9 } },\n  { op = "chat-template", file = "chat.jinja" },'
    (project.root / "brick.toml").write_text(text.replace("bricks = { upper = 0.9, next = 0.9 } },", step))
    ran, told = asked(opened(project.root), "assistant", "fox")
    assert (ran.text, ran.chat_template) == ("FOX", True)
    assert "`--raw` leaves it out" in told


@pytest.mark.parametrize(
    ("name", "prompt", "adapter", "told"),
    [
        ("assistant", "", None, "the prompt is empty"),
        ("assistant", "x", "upper", "has no adapters to choose from"),
        ("base", "x", "upper", "has no adapters to choose from"),
        ("assistent", "x", None, "is no target and no brick"),
        ("./none", "x", None, "there is no folder ./none"),
        ("hf:acme/model", "x", None, "there is no folder hf:acme/model"),
    ],
)
def test_what_cannot_be_run_is_told(name: str, prompt: str, adapter: str | None, told: str, project: Session) -> None:
    with pytest.raises((NotFound, UsageFault), match=told):
        asked(project, name, prompt, adapter)


def test_a_name_without_a_project_is_taken_for_no_folder() -> None:
    with pytest.raises(NotFound, match="no project here"):
        asked(None, "model", "x")
