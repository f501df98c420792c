"""Answers about the starter project need no torch. How long they take, `tests/benchmarks/startup.py` says."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("torch", "transformers", "peft", "numpy")


@pytest.mark.parametrize("verb", ["--help", "init", "lock", "tree", "list", "info", "cache", "completions", "doctor"])
def test_no_heavy_library_is_imported(verb: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    subprocess.run([sys.executable, "-m", "brickctl", "init", str(project), "--template", "starter"], check=True)
    own = {"info": ["upper"], "cache": ["size"], "completions": ["bash"], "doctor": ["--offline"]}
    arguments = {**own, "init": [str(tmp_path / "other")]}.get(verb, [])
    script = (
        "import json, sys\n"
        "from brickctl.cli import main\n"
        "code = main()\n"
        f"print(json.dumps([code, [name for name in {HEAVY} if name in sys.modules]]))"
    )
    command = [sys.executable, "-c", script, verb, *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]
