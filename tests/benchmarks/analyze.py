"""A whole report of a real model by `brickctl analyze`: time by measurement, peak memory, what was told before.

    python tests/benchmarks/analyze.py MODEL_FOLDER [--tokens 20000] [--threads 2] [--scratch FOLDER]

Prompts are text of four kinds (`tests/support/texts.py`; needs `apt-get`). It fails where the whole takes more than
40 minutes or 4 GB, or where the same command a second time takes more than 20 seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.texts import texts, write_labelled

SECONDS, BYTES, AGAIN = 40 * 60, 4_000_000_000, 20


def main() -> None:
    """Run it twice, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", type=Path, default=Path("analyze-scratch"))
    options = parser.parse_args()
    scratch = options.scratch.absolute()
    prompts = write_labelled(scratch / "prompts.jsonl", texts(scratch / "texts"))
    given = ["--tokens", str(options.tokens), "--threads", str(options.threads), "--prompts", str(prompts)]
    command = [sys.executable, "-m", "brickctl", "analyze", str(options.model.absolute()), *given]
    first, again = (_seconds(command, scratch) for _ in range(2))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    document = json.loads((scratch / "analysis" / options.model.name / "analysis.json").read_text())
    print(f"whole {first / 60:.1f} min, again {again:.1f} s, peak memory {peak / 1e9:.2f} GB, {document['settings']}")
    print(f"by measurement, in seconds: {document['seconds']}")
    if first > SECONDS or peak > BYTES or again > AGAIN:
        sys.exit("that is too much")


def _seconds(command: list[str], scratch: Path) -> float:
    begun = time.perf_counter()
    environment = {**os.environ, "BRICKCTL_CACHE": str(scratch / "cache"), "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(command, cwd=scratch, env=environment, check=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
