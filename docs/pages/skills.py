"""The table of skills in README.md: what `brickctl test --bricks` prints about the starter project."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile

_PLACE = re.compile(r"(<!-- skills -->\n\n```text\n).*?(```\n)", re.DOTALL)


def renewed(text: str) -> str:
    """A page with its table as the starter project gives it now; takes half a minute."""
    return _PLACE.sub(lambda place: f"{place[1]}{measured()}{place[2]}", text)


def measured() -> str:
    """The table, from a project made for it."""
    with tempfile.TemporaryDirectory() as folder:
        _brickctl("init", folder, "--template", "starter")
        return _brickctl("test", "--project", folder, "--bricks")


def _brickctl(*arguments: str) -> str:
    command = [sys.executable, "-m", "brickctl", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
