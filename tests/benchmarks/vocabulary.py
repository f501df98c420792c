"""A real model that gets tokens, and one that gets a tokenizer of which it lacks some: what is lost of what it knew.

    python tests/benchmarks/vocabulary.py BASE [--missing 200] [--k 64]

Growing: logits of old tokens, which keep every bit, and how long it takes. Transplanting: a copy of the model forgets
the names of some tokens of a page of this project, and gets its own tokenizer back. So the rows that it should have are
known: how far off each method is, relative in the 2-norm, and the perplexity of that page in windows of 256 tokens.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
TEXT = "The capital of France is Paris, and the river in it is the Seine."
TOKENS = ("<|tool|>", "Wanderlust", " Reykjavik")
EMBEDDING = "model.embed_tokens.weight"
METHODS = ("omp", "sub-tokens", "mean")
WINDOW, WINDOWS = 256, 12
_WORDS = 1000
"""Tokens from this number on are mostly words; bytes and what is added come before."""


def run(arguments: Sequence[str]) -> float:
    """Run brickctl with one thread, and tell how many seconds of a core that took: others may be at work."""
    command = [sys.executable, "-m", "brickctl", *arguments, "--threads", "1", "-q"]
    begin = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - begin


def grow(base: Path, folder: Path) -> None:
    """Add tokens, and compare the logits of the others."""
    spoken = [part for token in TOKENS for part in ("--token", token)]
    seconds = run(["grow", "vocabulary", str(base), *spoken, "--pad-to-multiple-of", "64", "-o", str(folder)])
    ids = AutoTokenizer.from_pretrained(base)(TEXT, return_tensors="pt").input_ids
    for dtype in (torch.bfloat16, torch.float32):
        before, after = (logits(one, ids, dtype) for one in (base, folder))
        same = torch.equal(after[..., : before.shape[-1]], before)
        print(f"{len(TOKENS)} tokens, {seconds:.1f} s, {dtype}: logits of old tokens are the same: {same}", flush=True)


def logits(folder: Path, ids: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)(ids).logits
    return found


def forgetful(base: Path, folder: Path, windows: torch.Tensor, missing: int) -> list[int]:
    """A copy of a model whose tokenizer lacks some of the tokens of a text, and their numbers."""
    shutil.copytree(base, folder)
    document = json.loads((base / "tokenizer.json").read_text())
    texts = {number: token for token, number in document["model"]["vocab"].items()}
    found = [int(number) for number in windows.unique() if number >= _WORDS]
    numbers = found[:: max(1, len(found) // missing)]
    lost = {texts[number] for number in numbers}
    texts |= {number: f"<lost {number}>" for number in numbers}
    pairs = ((merge, merge.split(" ") if isinstance(merge, str) else merge) for merge in document["model"]["merges"])
    document["model"]["merges"] = [merge for merge, pair in pairs if lost.isdisjoint((*pair, "".join(pair)))]
    document["model"]["vocab"] = {token: number for number, token in sorted(texts.items())}
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return numbers


def perplexity(folder: Path, windows: torch.Tensor) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        losses = [float(model(window[None], labels=window[None]).loss) for window in windows]
    return float(torch.tensor(losses).mean().exp())


def transplant(base: Path, scratch: Path, missing: int, k: int) -> None:
    """Give a forgetful copy its tokenizer back by each method."""
    ids = AutoTokenizer.from_pretrained(base)(PAGE.read_text(), return_tensors="pt").input_ids[0]
    windows = ids[: WINDOW * WINDOWS].reshape(WINDOWS, WINDOW)
    numbers = forgetful(base, scratch / "forgetful", windows, missing)
    hit = int(torch.isin(windows, torch.tensor(numbers)).sum())
    print(f"{len(numbers)} tokens are missing, {hit} of the {windows.numel()} of the page; as it was: ", end="")
    print(f"perplexity {perplexity(base, windows):.2f}", flush=True)
    right = load_file(base / "model.safetensors")[EMBEDDING].double()[numbers]
    for method in METHODS:
        how = ("--k", str(k)) if method == "omp" else ()
        folder = scratch / method
        seconds = run(
            ["transplant", str(scratch / "forgetful"), str(base), "--method", method, *how, "-o", str(folder)]
        )
        found = load_file(folder / "model.safetensors")[EMBEDDING].double()[numbers]
        off = ((found - right).norm(dim=1) / right.norm(dim=1)).median()
        print(
            f"{method:10}  {seconds:6.1f} s  {off:.3f} off (median)  perplexity {perplexity(folder, windows):.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("--missing", type=int, default=200)
    parser.add_argument("--k", type=int, default=64)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        grow(chosen.base, Path(scratch) / "grown")
        transplant(chosen.base, Path(scratch), chosen.missing, chosen.k)


if __name__ == "__main__":
    main()
