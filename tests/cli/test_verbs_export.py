"""`brickctl export`: what people read, what programs read, and what is refused before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox


@pytest.fixture
def starter(empty: Sandbox) -> Sandbox:
    assert empty.run("init", "--template", "starter").code == 0
    return empty


def test_it_says_where_the_export_is_and_what_to_run_there(starter: Sandbox) -> None:
    outcome = starter.run("export", "assistant", "--format", "gguf")

    assert outcome.code == 0, outcome.err
    state, run, command = outcome.lines
    assert state.startswith(f"assistant: exported  {starter.root}/dist/assistant.gguf  sha256:")
    assert (run, command) == ("run in that folder:", "  llama-cli -m assistant.gguf")
    assert "note: llama.cpp leaves out characters that are no tokens" in outcome.err
    assert starter.run("export", "assistant", "--format", "gguf", "-q").err == ""


def test_programs_are_told_the_digests_and_the_files(starter: Sandbox) -> None:
    told = starter.run("export", "assistant", "--format", "oci", "-o", "out", "--json").json

    assert (told["target"], told["format"], told["fresh"]) == ("assistant", "oci", True)
    assert told["folder"] == str(starter.root / "out")
    assert told["artifact"].startswith("sha256:")
    assert {"index.json", "oci-layout"} < set(told["files"])
    again = starter.run("export", "assistant", "--format", "oci", "-o", "out", "--json").json
    assert (again["fresh"], again["digest"]) == (False, told["digest"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("assistant", "--format", "ggu"), "there is no export format `ggu`"),
        (("assistant", "--format", "oci", "--quantize", "f16"), "`--quantize` means nothing to --format oci"),
        (("assistant", "--format", "gguf", "--to", "a/b"), "`--to` means nothing to --format gguf"),
        (("assistant", "--format", "hf"), "nobody says to which repository"),
        (("assistant", "--format", "hf", "--to", "b"), "`b` is no repository of the Hub"),
        (("assistant", "--format", "hf", "--to", "a/b", "-o", "x"), "`--output` means nothing to --format hf"),
        (("assistant", "--format", "gguf", "-o", "brick.toml"), "is a file"),
        (("assistant", "--format", "gguf", "-o", "checks"), "checks will not be replaced"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_built(
    arguments: tuple[str, ...], says: str, starter: Sandbox
) -> None:
    outcome = starter.run("export", *arguments)

    assert outcome.code == 2, outcome.err
    assert says in outcome.err
    assert "hint: " in outcome.err
    assert not (starter.root / "dist").exists()
    assert not (starter.root / "brick.lock").exists()
