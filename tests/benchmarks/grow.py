"""A real model made larger in every way: what that takes, and how far it is from what the model said.

    python tests/benchmarks/grow.py BASE

Each growth is a whole `brickctl grow` with one thread. Logits of one short text, relative in the 2-norm, in fp32 and in
bf16. Held against: not one bit for zero blocks, 1e-5 for all others in fp32.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

ROOT = Path(__file__).parents[2]
TEXT = "The capital of France is Paris, and the river in it is the Seine. def add(a, b): return a + b"
TYPES = (torch.float32, torch.bfloat16)
MEASURED = """
import sys
from brickctl.cli.app import main
code = main()
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""
"""brickctl, and the most memory of its process in KiB; what the system counts for a child begins with its parent's."""

GROWTHS = {
    "depth, 36 layers": ("depth", "--layers", "36"),
    "width, 2048 neurons": ("width", "--neurons", "2048"),
    "width, 4800 neurons": ("width", "--neurons", "4800"),
    "width, 1152 channels": ("width", "--hidden", "1152"),
    "width, noise of 1 %": ("width", "--neurons", "2048", "--noise", "0.01"),
    "experts, 2 of 4": ("experts", "--experts", "4", "--active", "2"),
}


def grow(arguments: tuple[str, ...], base: Path, folder: Path) -> str:
    """Make the model, and say how many seconds and how much memory that took, and what it weighs."""
    what, *options = arguments
    command = [sys.executable, "-c", MEASURED, "grow", what, str(base), *options, "-o", str(folder), "--threads", "1"]
    begin = time.perf_counter()
    done = subprocess.run([*command, "-q"], cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return f"{seconds:5.1f} s  {int(done.stderr) / 1024:5.0f} MiB of memory  {size / 1e6:6.1f} MB"


def logits(folder: Path, tokens: Tensor) -> Mapping[torch.dtype, Tensor]:
    """What a model says, in each type."""
    found = {}
    for dtype in TYPES:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        with torch.no_grad():
            found[dtype] = model(tokens).logits.double()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    base = parser.parse_args().base.absolute()
    tokens = AutoTokenizer.from_pretrained(base)(TEXT, return_tensors="pt").input_ids
    wanted, failed = logits(base, tokens), []
    for name, arguments in GROWTHS.items():
        with tempfile.TemporaryDirectory() as scratch:
            took = grow(arguments, base, Path(scratch) / "out")
            found = logits(Path(scratch) / "out", tokens)
        off = [float((found[dtype] - wanted[dtype]).norm() / wanted[dtype].norm()) for dtype in TYPES]
        print(f"{name:22} {took}  {off[0]:.2e}  {off[1]:.2e}", flush=True)
        limit = 0.0 if arguments[0] == "depth" else 1e-5
        failed += [name] if off[0] > limit and "--noise" not in arguments else []
    print(f"too far off: {', '.join(failed)}" if failed else "none is too far off")


if __name__ == "__main__":
    main()
