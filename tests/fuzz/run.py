"""Fuzz for as long as you like, guided by coverage: `python -m tests.fuzz.run [--minutes 60] [--jobs 2] [TARGET ...]`.

Needs `pip install -e .[fuzz]`. The time is shared between the targets, each of which runs in a process of its own: a
crash, an input that takes longer than ten seconds and memory above 1 GB end it, and the input is written down.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from tests.fuzz.corpus import CORPUS

LONGEST_INPUT = 10
"""Seconds."""

MOST_MEMORY = 1024
"""MiB."""

_INSIDE = "--inside"
_STATISTICS = {"stat::number_of_executed_units:": "inputs", "stat::peak_rss_mb:": "MiB at most"}


def main() -> int:
    """Run every target, then say what was found."""
    if sys.argv[1:2] == [_INSIDE]:
        fuzz(sys.argv[2], sys.argv[3:])
    names = sorted(folder.name for folder in CORPUS.iterdir())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(names))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="where inputs that fail are written")
    wanted = parser.parse_args()
    targets = wanted.targets or names
    seconds = int(wanted.minutes * 60 * wanted.jobs / len(targets))
    wanted.found.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(wanted.jobs) as pool:
        passed = list(pool.map(lambda target: run(target, seconds, wanted.found.resolve()), targets))
    return 0 if all(passed) else 1


def run(target: str, seconds: int, found: Path) -> bool:
    """Fuzz one target in a process of its own; print the last line of its statistics, or its traceback."""
    with tempfile.TemporaryDirectory() as folder:
        limits = [f"-max_total_time={seconds}", f"-timeout={LONGEST_INPUT}", f"-rss_limit_mb={MOST_MEMORY}"]
        command = [
            sys.executable, "-m", "tests.fuzz.run", _INSIDE, target, *limits, "-max_len=65536",
            "-print_final_stats=1", f"-artifact_prefix={found}/{target}-", folder, str(CORPUS / target),
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    said = done.stderr.splitlines()
    passed = done.returncode == 0
    print(f"{target:14} {'passed' if passed else 'FAILED'} in {seconds} s", *_statistics(said), flush=True)
    if not passed:
        print("\n".join(line for line in (*done.stdout.splitlines(), *said) if line[:1] not in "#IW"), flush=True)
    return passed


def _statistics(said: list[str]) -> list[str]:
    """Inputs tried and peak memory, as libFuzzer counted them."""
    words = [line.split() for line in said if line.startswith("stat::")]
    return [f"{count} {_STATISTICS[name]}," for name, count in words if name in _STATISTICS]


def fuzz(target: str, arguments: list[str]) -> None:
    """Hand the process over to libFuzzer."""
    import atheris

    with atheris.instrument_imports(include=["brickctl"]):
        from tests.fuzz import targets
    from tests.fuzz.mutation import mutate

    def mutator(data: bytes, longest: int, seed: int) -> bytes:
        random = Random(seed)  # noqa: S311 - libFuzzer gives the seed, so that a run can be repeated
        return mutate(data, random, longest) if random.random() < 0.8 else atheris.Mutate(data, longest)

    atheris.Setup(
        [sys.argv[0], *arguments], lambda data: targets.survives(target, data) and None, custom_mutator=mutator
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
