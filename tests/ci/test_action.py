"""The composite action: what it may contain, and that its steps do what they are there for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.ci.steps import FOLDER, action, inputs, run_steps
from tests.docs.pages import ROOT
from tests.support.projects import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Mapping

HOOKS = ROOT / ".pre-commit-hooks.yaml"
BRICKCTL = (sys.executable, "-m", "brickctl")
STUB = '#!/bin/sh\nprintf "%s\\n" "$@" >> "$RUNNER_TEMP/pip"\n'
"""A pip that installs nothing and writes down what it was asked for."""


def steps() -> list[dict[str, str]]:
    found: list[dict[str, str]] = action()["runs"]["steps"]
    return found


@pytest.fixture
def runner(tmp_path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a runner, on which brickctl is what is tested and pip does nothing."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/pip").write_text(STUB)
    (tmp_path / "bin/pip").chmod(0o755)
    (tmp_path / "temp").mkdir()
    path = f"{tmp_path}/bin:{Path(sys.executable).parent}:{environment['PATH']}"
    return {**environment, "PATH": path, "RUNNER_TEMP": f"{tmp_path}/temp", "CI": "true"}


@pytest.fixture
def workspace(folder: Path) -> Path:
    """A checkout with a project in a folder whose name is awkward for a shell."""
    shutil.copytree(TEMPLATE, folder / "my models")
    return folder


def test_scripts_contain_no_expression() -> None:
    """An input that became text of a script could be a command."""
    assert [step["name"] for step in steps() if "${{" in step.get("run", "")] == []


def test_other_actions_are_pinned_to_commits_and_say_of_which_version() -> None:
    text = (FOLDER / "action.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


def test_every_input_is_used_and_described() -> None:
    text = (FOLDER / "action.yml").read_text(encoding="utf-8")
    assert [name for name, about in action()["inputs"].items() if not about["description"]] == []
    assert [name for name in action()["inputs"] if f"inputs.{name}" not in text] == []


def test_the_guide_lists_the_inputs_as_they_are() -> None:
    rows = [
        f"| `{name}` | {about['description']} | {'`' + about['default'] + '`' if about['default'] else ''} |"
        for name, about in action()["inputs"].items()
    ]
    assert "\n".join(rows) in (ROOT / "docs/how-to/run-in-ci.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["docs/how-to/run-in-ci.md", "docs/tutorials/ci-from-zero.md"])
def test_what_a_page_gives_to_the_action_are_inputs_of_it(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    (given,) = re.findall(r"uses: OWNER/brickctl/(\S+)@v1\n +with:\n((?: +[\w-]+: .+\n)+)", text)
    assert (ROOT / given[0] / "action.yml").is_file()
    assert set(re.findall(r"^ +([\w-]+):", given[1], re.MULTILINE)) <= set(action()["inputs"])
    assert set(re.findall(r"id: (brickctl[\w-]*)", text)) <= set(re.findall(r"id: (.+)", HOOKS.read_text()))


@pytest.mark.parametrize(
    "command",
    [
        ("check-jsonschema", "--builtin-schema", "vendor.github-actions", ".github/actions/brickctl/action.yml"),
        ("zizmor", "--offline", "--no-progress", "--persona", "pedantic", ".github"),
        ("hadolint", ".docker/Dockerfile"),
    ],
    ids=lambda command: command[0],
)
def test_what_was_made_to_find_faults_finds_none(command: tuple[str, ...]) -> None:
    tool = shutil.which(command[0], path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip(f"{command[0]} is not here: pip install -e '.[ci]'")
    done = subprocess.run([tool, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_torch_is_the_same_wherever_it_is_installed() -> None:
    places = ("README.md", ".ci/run", ".docker/Dockerfile", ".pre-commit-hooks.yaml", FOLDER / "action.yml")
    found = {version for place in places for version in re.findall(r"torch==([\d.]+)", (ROOT / place).read_text())}
    assert len(found) == 1


@pytest.mark.full
def test_the_steps_bring_a_project_from_its_lock_to_verified_artifacts(workspace: Path, runner: dict[str, str]) -> None:
    subprocess.run([*BRICKCTL, "lock", "--project", "my models"], cwd=workspace, env=runner, check=True)
    done = list(run_steps(inputs(project="my models"), workspace, runner))
    assert [step.returncode for step in done] == [0] * 6, done[-1].stderr
    assert (workspace / "my models/dist/assistant/model.safetensors").is_file()
    assert ET.parse(workspace / "my models/brickctl-junit.xml").getroot().findall(".//testcase")  # noqa: S314 - ours
    asked = (Path(runner["RUNNER_TEMP"]) / "pip").read_text()
    assert "torch==2.13.0" in asked
    assert (Path(asked.splitlines()[-1]) / "pyproject.toml").samefile(ROOT / "pyproject.toml")


@pytest.mark.full
def test_a_lock_that_is_stale_ends_the_steps_before_anything_is_built(workspace: Path, runner: dict[str, str]) -> None:
    done = list(run_steps(inputs(project="my models"), workspace, runner))
    assert [step.returncode for step in done] == [0, 3]
    assert not (workspace / "my models/dist").exists()


def test_an_input_is_never_a_command(workspace: Path, runner: dict[str, str]) -> None:
    hostile = '$(touch pwned) `touch pwned` "; touch pwned; "'
    done = list(run_steps(inputs(project=hostile, brickctl=hostile), workspace, runner))
    assert [step.returncode for step in done] == [0, 1]
    assert not list(workspace.rglob("pwned"))
