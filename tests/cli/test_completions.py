"""Completion in real shells: verbs, options, and the names of a project."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import brickctl.cli
from brickctl.cli.app import application
from tests.support.projects import starter_project

PROGRAM = application(brickctl.cli)


def complete(project: Path, words: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What bash would be offered behind these words; the last one is being typed."""
    monkeypatch.chdir(project)
    position = len(words.split(" ")) - 1
    environment = {"_BRICKCTL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    result = CliRunner().invoke(PROGRAM, [], prog_name="brickctl", env=environment)
    assert result.exit_code == 0
    return [line.partition(",")[2] for line in result.output.splitlines() if line]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return starter_project(tmp_path, monkeypatch)


CASES = {
    "brickctl bu": ["build"],
    "brickctl build --dr": ["--dry-run"],
    "brickctl build ass": ["assistant"],
    "brickctl build assistant sor": ["sorter"],
    "brickctl remove upp": ["upper"],
    "brickctl update n": ["next"],
    "brickctl completions f": ["fish"],
    "brickctl info rev": ["reverse"],
    "brickctl build nothing": [],
}


@pytest.mark.parametrize("words", CASES)
def test_what_is_offered(words: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete(project, words, monkeypatch) == CASES[words]


@pytest.mark.parametrize("text", [None, "[project", "\0"])
def test_a_manifest_that_cannot_be_read_offers_nothing_and_says_nothing(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "brick.toml").write_text(text)
    assert complete(tmp_path, "brickctl build a", monkeypatch) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_alone(shell: str) -> None:
    result = CliRunner().invoke(PROGRAM, ["completions", shell], prog_name="brickctl")
    assert result.exit_code == 0
    assert f"_BRICKCTL_COMPLETE={shell}_complete" in result.stdout
    assert "to use it" in result.stderr
    assert "to use it" not in result.stdout


def test_bash_reads_the_script() -> None:
    script = CliRunner().invoke(PROGRAM, ["completions", "bash", "-q"], prog_name="brickctl").stdout
    done = subprocess.run(
        ["/bin/bash", "-c", f"{script}\ncomplete -p brickctl"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "complete -o nosort -F _brickctl_completion brickctl"
