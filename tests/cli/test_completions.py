"""`brickctl completions`, as a shell uses it: bash is given the script, and asked what may come next."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from brickctl.cli import app
from tests.support.verbs import MakeVerbs  # noqa: TC001 - pytest reads it

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

CHECK = """
[[checks]]
name = "sums"
target = "assistant"
kind = "exact-match"
data = "sums.jsonl"
min = 0.5

[registries]
ours = "./index"
"""


def pressed(sandbox: Sandbox, *words: str) -> tuple[list[str], str]:
    """What bash offers for the last word, and everything else that came to its screen."""
    script = (
        'eval "$(brickctl completions bash)"\n'
        'COMP_WORDS=(brickctl "$@"); COMP_CWORD=$#\n'
        "_brickctl_completion brickctl\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\" >&3\n"
    )
    offered = sandbox.home / "offered"
    offered.parent.mkdir(exist_ok=True)
    environment = sandbox.environment()
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", f"exec 3> '{offered}'\n{script}", "bash", *words],
        cwd=sandbox.root,
        env={**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return [word for word in offered.read_text().split("\n") if word], done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("comp",), ["completions"]),
        (("in",), ["info", "init", "install"]),
        (("build", ""), ["assistant"]),
        (("build", "assistant", ""), []),
        (("build", "--froz"), ["--frozen"]),
        (("info", ""), ["base", "sql", "mail"]),
        (("remove", "sql", ""), ["mail"]),
        (("remove", "--project", ".", "m"), ["mail"]),
        (("update", "b"), ["base"]),
        (("test", ""), ["sums", "assistant"]),
        (("add", "--registry", ""), ["ours"]),
        (("analyze", ""), ["assistant", "base", "sql", "mail"]),
        (("analyze", "--only", "sp"), ["sparsity", "specialisation", "split"]),
        (("analyze", "--only", "sparsity,p"), ["sparsity,partition", "sparsity,perturbation"]),
        (("completions", "z"), ["zsh"]),
        (("merge", "./base", "./chat", "--tokenizer", ""), ["base", "union"]),
    ],
)
def test_bash_offers_verbs_options_and_the_names_of_the_project(
    words: tuple[str, ...], offered: list[str], project: Sandbox
) -> None:
    project.write({"brick.toml": project.manifest + CHECK})
    assert pressed(project, *words) == (offered, "")


ASKED = {
    "zsh": (
        "compdef() { :; }; _describe() { print -l -- ${(P)3}; }; compadd() { print -l -- ${(P)5}; }\n"
        'eval "$(brickctl completions zsh)"\n'
        'words=(brickctl "$@"); CURRENT=$(($# + 1))\n'
        "_brickctl_completion\n"
    ),
    "fish": 'brickctl completions fish | source\ncomplete --do-complete "brickctl $argv"\n',
}
"""How a script asks each shell for what it would offer: zsh has its completion system replaced by one that prints."""


@pytest.mark.parametrize("shell", ASKED)
@pytest.mark.parametrize(
    ("words", "offered"),
    [(("comp",), {"completions"}), (("build", ""), {"assistant"}), (("build", "--froz"), {"--frozen"})],
)
def test_zsh_and_fish_offer_the_same(shell: str, words: tuple[str, ...], offered: set[str], project: Sandbox) -> None:
    """What stands behind a tab or a colon is what the shell tells of a word."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not here")
    environment = project.environment()
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    own = () if shell == "fish" else (shell,)
    done = subprocess.run(
        [program, "-c", ASKED[shell], *own, *words],
        cwd=project.root,
        env={**environment, "PATH": path, "HOME": str(project.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ({line.split("\t")[0].split(":")[0] for line in done.stdout.splitlines()}, done.stderr) == (offered, "")


@pytest.mark.parametrize("text", ["[project", "[project]\nname = 3\n", "\udcff"])
def test_a_manifest_that_is_off_offers_nothing_and_says_nothing(text: str, project: Sandbox) -> None:
    project.write({"brick.toml": text.encode("utf-8", "surrogateescape")})
    assert pressed(project, "build", "") == ([], "")
    assert pressed(project, "buil") == (["build"], "")


def test_a_folder_without_a_project_offers_nothing_and_says_nothing(empty: Sandbox) -> None:
    assert pressed(empty, "build", "") == ([], "")
    assert pressed(empty, "build", "--project", "nowhere", "") == ([], "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_all_that_is_printed(shell: str, empty: Sandbox) -> None:
    outcome = empty.run("completions", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"_BRICKCTL_COMPLETE={shell}_complete" in outcome.out
    assert empty.run("completions", shell, "--json").json["script"].rstrip("\n") == outcome.out.rstrip("\n")


def test_a_verb_that_cannot_even_be_loaded_says_nothing_into_the_line_that_is_typed(
    make_verbs: MakeVerbs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs = make_verbs({"broken": "raise ValueError('odd')"})
    monkeypatch.setenv(app.COMPLETING, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "brickctl bro")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert app.run(verbs, []) == 1
    assert capsys.readouterr() == ("", "")
