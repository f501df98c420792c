"""The reference says what the code says, and the same everywhere."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

GENERATE = [sys.executable, "docs/generate.py"]


def test_the_reference_is_not_stale(environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [*GENERATE, "--check"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_reference_does_not_depend_on_terminal_locale_or_hash_seed(environment: Mapping[str, str]) -> None:
    odd = {"COLUMNS": "40", "LC_ALL": "C", "PYTHONHASHSEED": "7", "BRICKCTL_MEMORY": "1GiB", "BRICKCTL_THREADS": "3"}
    command = [*GENERATE, "--check"]
    done = subprocess.run(command, cwd=ROOT, env={**environment, **odd}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
