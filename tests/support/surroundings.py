"""Builds in processes of their own, under whatever could move a bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
MEBIBYTE = 1 << 20
LEVELS = {"default": "DEFAULT", "avx2": "AVX2", "avx512": "AVX512"}
"""Instruction sets that torch can be told to take, and how it calls them."""


def drive(text: str, folder: Path, surrounding: Mapping[str, Any]) -> dict[str, Any]:
    """Build every target in a process of its own."""
    folder.mkdir(parents=True)
    (folder / "brick.toml").write_text(text)
    budget = [
        str(surrounding.get("threads", 2)),
        str(surrounding.get("memory", 64 * MEBIBYTE)),
        surrounding.get("hands", "threads"),
    ]
    command = [sys.executable, "-m", "tests.support.drive", str(folder / "brick.toml"), str(folder), *budget]
    variables = {key: value for key, value in surrounding.items() if key.isupper()}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def has(level: str) -> bool:
    """Whether this CPU can run the kernels of a level: the flags that torch asks for."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    needed = {"default": [], "avx2": ["avx2", "fma"], "avx512": ["avx512f", "avx512bw", "avx512vl", "avx512dq"]}
    return all(flag in flags for flag in needed[level])
