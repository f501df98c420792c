"""How long brickctl takes beside `python -c "import click"`: whole processes, medians of alternating runs.

    python tests/benchmarks/startup.py [RUNS]

One is `brickctl --help`; the others merge models of 64 numbers, so that nearly all of it is start and end.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 2.5
"""The ratio that `brickctl --help` must not reach."""

HELP, CLICK = "brickctl --help", "import click"
METHODS = ("linear", "slerp", "ties")


def commands(folder: Path) -> dict[str, list[str]]:
    """Command lines by name, in the order in which they take turns."""
    brickctl = [sys.executable, "-m", "brickctl"]
    builds = {
        f"merge, {method}": [*brickctl, "build", method, "--force", "--project", str(folder)] for method in METHODS
    }
    return {CLICK: [sys.executable, "-c", "import click"], HELP: [*brickctl, "--help"], **builds}


def make(folder: Path) -> None:
    """A project with a target for each method, and its models of one matrix."""
    for number, name in enumerate(("base", "one", "two"), 1):
        (folder / name).mkdir()
        header = json.dumps({"lm_head.weight": {"dtype": "F32", "shape": [8, 8], "data_offsets": [0, 256]}}).encode()
        content = struct.pack("<64f", *(number / (1 + place) for place in range(64)))
        (folder / name / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + content)
        (folder / name / "config.json").write_text('{"architectures": ["Small"], "model_type": "small"}')
    named = 'bricks = [{ brick = "one" }, { brick = "two" }]'
    targets = [f'[targets.{method}]\napply = [{{ op = "merge", method = "{method}", {named} }}]' for method in METHODS]
    bricks = '[bricks]\none = { source = "path:one" }\ntwo = { source = "path:two" }'
    parts = ('[project]\nname = "startup"', '[base]\nsource = "path:base"', bricks, *targets)
    (folder / "brick.toml").write_text("\n".join(parts) + "\n")


def once(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of a process from start to end, and of the cores that it kept busy."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime


def run(runs: int, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """What each command took; they take turns, so that a busy moment hits all of them."""
    environment = {**os.environ, "BRICKCTL_CACHE": str(folder / "caches")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as what is installed is
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands(folder)}
    for _ in range(runs + 1):
        for name, command in commands(folder).items():
            taken[name].append(once(command, environment))
    return {name: rounds[1:] for name, rounds in taken.items()}  # the first run warms the disk


def modules(command: list[str]) -> int:
    """How many modules a command has imported in the end."""
    script = "import sys; from brickctl.cli import main; main(); print(len(sys.modules), file=sys.stderr)"
    arguments = [sys.executable, "-c", script, *command[3:]]
    return int(subprocess.run(arguments, capture_output=True, text=True, check=True).stderr.splitlines()[-1])


def main() -> int:
    """Print medians, the least seconds of cores, and modules; 1 when help takes too long."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    with tempfile.TemporaryDirectory(prefix="brickctl-startup-") as folder:
        make(Path(folder))
        taken = run(runs, Path(folder))
        loaded = {name: modules(command) for name, command in commands(Path(folder)).items() if name != CLICK}
    medians = {name: statistics.median(wall for wall, _ in rounds) for name, rounds in taken.items()}
    for name, seconds in medians.items():
        cores = min(cores for _, cores in taken[name])
        print(f"{name:<16} {1000 * seconds:6.1f} ms, {1000 * cores:6.1f} core ms, {loaded.get(name, '')} modules")
    ratio = medians[HELP] / medians[CLICK]
    print(f"ratio            {ratio:6.2f}, limit {LIMIT}")
    return 0 if ratio < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
