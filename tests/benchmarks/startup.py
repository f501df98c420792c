"""How long `brickctl --help` takes beside `python -c "import click"`: whole processes, medians of alternating runs.

python tests/benchmarks/startup.py [RUNS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LIMIT = 2.5
"""The ratio that must not be reached."""

COMMANDS = {
    "import click": [sys.executable, "-c", "import click"],
    "brickctl --help": [sys.executable, "-m", "brickctl", "--help"],
}


def measure(runs: int) -> dict[str, float]:
    """Median seconds of each command; the commands take turns, so that a busy moment hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}  # the first run warms the disk


def main() -> int:
    """Print the medians and their ratio; 1 when it is too high."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    medians = measure(runs)
    for name, seconds in medians.items():
        print(f"{name:<16} {1000 * seconds:6.1f} ms, median of {runs}")
    ratio = medians["brickctl --help"] / medians["import click"]
    print(f"ratio            {ratio:6.2f}, limit {LIMIT}")
    return 0 if ratio < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
