"""`run`: what is written where, and how it ends."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.workflows.running import run as running
from brickctl.workflows.running.run import Ran, Request

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """A model that answers two pieces, a control character between them; what it was asked."""
    heard: list[Request] = []

    def answer(_: Any, request: Request, tell: Any, write: Any) -> Ran:
        heard.append(request)
        tell("the prompt goes in raw")
        for piece in ("a\tb\n", "\x1b[31mred"):
            write(piece)
        text = "a\tb\n\x1b[31mred"
        return Ran(request=request, chat_template=False, adapter=None, text=text, tokens=9, ended=request.raw)

    monkeypatch.setattr(running, "run", answer)
    return heard


def test_the_answer_is_data_and_how_it_is_asked_is_words(project: Sandbox, answering: list[Request]) -> None:
    outcome = project.run("run", "assistant", "hello", "--max-tokens", "9")
    assert (outcome.code, outcome.out) == (0, "a\tb\n\\x1b[31mred\n")
    assert "the prompt goes in raw" in outcome.err
    assert "stopped after 9 tokens, where the model would go on: `--max-tokens N`" in outcome.err
    assert answering[0].prompt == "hello"
    assert "stopped after 9 tokens: there is no room for more" in project.run("run", "assistant", "hello").err


@pytest.mark.usefixtures("answering")
def test_programs_get_one_object_with_the_text_as_it_is(project: Sandbox) -> None:
    answer = project.run("run", "assistant", "hello", "--json", "--raw").json
    assert (answer["answer"], answer["stopped"], answer["seed"]) == ("a\tb\n\x1b[31mred", "end", None)


def test_a_prompt_is_piped_in(project: Sandbox, answering: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in ((b"two\nlines\n", "two\nlines"), ("é".encode(), "é")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert project.run("run", "assistant", "-", "--temperature", "0.5", "--seed", "3").code == 0
        assert answering[-1].prompt == expected
    assert (answering[-1].manner.temperature, answering[-1].manner.seed) == (0.5, 3)


@pytest.mark.parametrize(("given", "told"), [(b"\xff", "not UTF-8"), (b"x" * 1_000_001, "more than 1,000,000 bytes")])
def test_what_is_piped_in_and_is_no_prompt(
    given: bytes, told: str, project: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    outcome = project.run("run", "assistant", "-")
    assert outcome.code == 2
    assert told in outcome.err


def test_ctrl_c_ends_the_line_and_the_command(project: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any) -> None:
        arguments[-1]("half a")
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run", stop)
    outcome = project.run("run", "assistant", "hello")
    assert (outcome.code, outcome.out) == (130, "half a\n")
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--temperature", "1e-40"),
        ("--max-tokens", "0"),
        ("--seed", "x"),
        ("--seed", str(1 << 32)),
    ],
)
def test_numbers_that_cannot_be(wrong: tuple[str, str], project: Sandbox) -> None:
    assert project.run("run", "assistant", "hello", *wrong).code == 2
