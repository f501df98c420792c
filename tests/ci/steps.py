"""The composite action as something that runs: its `run` steps in order, as a runner would start them."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FOLDER = ROOT / ".github/actions/brickctl"
_EXPRESSION = re.compile(r"\$\{\{ ([\w.-]+) \}\}")
_BASH = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")  # what a runner calls for `shell: bash`


def action() -> Any:
    """The document."""
    return yaml.safe_load((FOLDER / "action.yml").read_text(encoding="utf-8"))


def inputs(**given: str) -> dict[str, str]:
    """Every input: what is given, and else its default; `_` in a name stands for `-`."""
    defaults = {name: about["default"] for name, about in action()["inputs"].items()}
    return defaults | {name.replace("_", "-"): value for name, value in given.items()}


def run_steps(
    wishes: Mapping[str, str], workspace: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.CompletedProcess[str]]:
    """Run the steps that have a script, up to the first that fails."""
    known = {f"inputs.{name}": value for name, value in wishes.items()}
    known |= {"github.action_path": str(FOLDER), "runner.temp": environment["RUNNER_TEMP"]}
    for step in action()["runs"]["steps"]:
        if "run" not in step or not _wanted(step.get("if", ""), wishes):
            continue
        own = {name: _EXPRESSION.sub(lambda found: known[found[1]], text) for name, text in step["env"].items()}
        command = [*_BASH, "-c", step["run"]]
        done = subprocess.run(
            command, cwd=workspace, env={**environment, **own}, capture_output=True, text=True, check=False
        )
        yield done
        if done.returncode:
            return


def _wanted(condition: str, wishes: Mapping[str, str]) -> bool:
    """Whether a step runs: its condition is empty, or compares one input with one text."""
    if not condition:
        return True
    name, wanted = re.fullmatch(r"inputs\.([\w-]+) == '(\w*)'", condition).groups()  # type: ignore[union-attr]
    return wishes[name] == wanted
