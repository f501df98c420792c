"""Bricks out of a real model: how long each extraction takes, what it weighs, and what it misses.

    python tests/benchmarks/extract.py --base DIRECTORY [--adapters tests/real] [--only TEXT]

The model is the base with all adapters merged by TIES, whose difference from the base has full rank, and, for `again`,
with one adapter alone in fp32, whose rank 16 is to be found again. Each extraction is a whole `brickctl extract`;
errors are those of its table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ADAPTERS = ("reverse", "facts", "date", "json")
EXTRACTIONS = {
    "lora, rank 8": ("lora", "--rank", "8"),
    "lora, rank 16": ("lora", "--rank", "16"),
    "lora, rank 16, bf16": ("lora", "--rank", "16", "--dtype", "bfloat16"),
    "lora, energy 0.9": ("lora", "--energy", "0.9"),
    "delta, density 0.1": ("delta", "--density", "0.1"),
    "delta, 8 bits": ("delta", "--bits", "8"),
    "delta, 4 bits": ("delta", "--bits", "4"),
    "delta, 1 bit": ("delta", "--bits", "1"),
    "layers 10 to 19": ("layers", "--layers", "10", "20"),
}


def brickctl(*arguments: str) -> dict[str, Any]:
    """What a command answers."""
    command = [sys.executable, "-m", "brickctl", *arguments, "--json", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def median(numbers: list[float]) -> float:
    ordered = sorted(numbers)
    return ordered[len(ordered) // 2]


def extract(name: str, options: tuple[str, ...], model: Path, base: Path, scratch: Path) -> None:
    begin = time.perf_counter()
    made = brickctl("extract", *options, "--from", str(model), "--base", str(base), "-o", str(scratch / name))
    seconds = time.perf_counter() - begin
    errors = [row["error"] for row in made["rows"] if "error" in row]
    ranks = [row["rank"] for row in made["rows"] if row.get("rank")]
    said = f"median error {median(errors):.3g}, largest {max(errors):.3g}" if errors else "exact"
    more = f", ranks {min(ranks)} to {max(ranks)}" if ranks else ""
    print(f"{name:24} {seconds:6.1f} s  {made['size'] / 1e6:7.1f} MB  {said}{more}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, default=ROOT / "tests/real")
    parser.add_argument("--only", help="part of the names to run")
    given = parser.parse_args()
    bricks = [str(given.adapters.absolute() / name) for name in ADAPTERS]
    base = given.base.absolute()
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        brickctl("merge", str(base), *bricks, "-m", "ties", "-s", "density=0.5", "-o", str(scratch / "all"))
        brickctl("merge", str(base), bricks[0], "--dtype", "float32", "-o", str(scratch / "one"))
        size = sum(path.stat().st_size for path in (scratch / "all").glob("*.safetensors"))
        print(f"the model: {size / 1e6:.1f} MB")
        for name, options in EXTRACTIONS.items():
            if given.only is None or given.only in name:
                extract(name, options, scratch / "all", base, scratch)
        extract("again, rank 16", ("lora", "--rank", "16"), scratch / "one", base, scratch)


if __name__ == "__main__":
    main()
