"""How near `--dry-run` comes to the time that a build takes: the models of `methods.py`, whole processes.

    python tests/benchmarks/estimate.py [--rounds 3] [--scratch FOLDER] [--only linear,ties]

Each round asks for the estimate and then builds. The estimate is for inputs that brickctl has verified before, as they
are after the dry run. It fails where a merge that the disk bounds takes more than twice as long, or less than half.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from methods import LAYERS, make
from processes import measure

STEPS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "task_arithmetic": (),
    "dare_ties": ("--set", "density=0.5"),
    "ties": ("--set", "density=0.5"),
}
"""Options by method."""

BRICKS = ("one", "two", "three")
BOUND_BY_DISK = {"linear", "task_arithmetic"}
FACTOR = 2


def command(models: Path, output: Path, method: str) -> list[str]:
    """The merge of a method, as a command line."""
    bricks = [str(models / name) for name in BRICKS]
    start = [sys.executable, "-m", "brickctl", "merge", str(models / "base"), *bricks, "--weight", "0.3"]
    return [*start, "--method", method, "--output", str(output), *STEPS[method]]


def ratios(scratch: Path, method: str, rounds: int) -> list[float]:
    """Measured by estimated seconds, round by round; prints both."""
    models, output = scratch / "models", scratch / "output"
    environment = {**os.environ, "BRICKCTL_CACHE": str(scratch / "cache"), "PYTHONPATH": str(Path(__file__).parents[2])}
    line, found = command(models, output, method), []
    for number in range(1, rounds + 1):
        shutil.rmtree(output, ignore_errors=True)
        done = subprocess.run(
            [*line, "--dry-run", "--json"], env=environment, capture_output=True, text=True, check=True
        )
        expected = json.loads(done.stdout)["targets"][0]["estimate"]["seconds"]
        wall = measure(line, environment).wall
        found.append(wall / expected)
        print(
            f"round {number}  {method:16} estimated {expected:6.1f} s, took {wall:6.1f} s, {found[-1]:.2f}", flush=True
        )
    shutil.rmtree(output, ignore_errors=True)
    return found


def main() -> int:
    """Read the arguments, run, and print medians; 1 where one is too far off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="8 GB; kept, so that the models are made once")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(STEPS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        scratch = (arguments.scratch or Path(passing)).resolve()
        with ProcessPoolExecutor(1) as maker:  # a process of its own: children inherit the memory of their parent
            maker.submit(make, scratch / "models", LAYERS).result()
        medians = {name: statistics.median(ratios(scratch, name, arguments.rounds)) for name in arguments.only}
    for name, ratio in medians.items():
        print(f"{name:16} {ratio:.2f} of the estimate")
    far_off = [name for name in BOUND_BY_DISK & medians.keys() if not 1 / FACTOR <= medians[name] <= FACTOR]
    return 1 if far_off else 0


if __name__ == "__main__":
    sys.exit(main())
