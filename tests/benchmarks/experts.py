"""Adapters of a real model as the experts of one mixture: where tokens go, and what each skill keeps.

    python tests/benchmarks/experts.py BASE ADAPTER ADAPTER... [--items 24] [--methods centroids] [--scratch FOLDER]

Adapters are folders with a `heldout.jsonl` of prompts and completions, all of which change FFNs; the base is an expert
too, for the prose of `tests/support/domains.jsonl`. Gates are derived from one half of everything. Of the other half
are measured:

- *own*: the share of tokens that the gates send to their own expert, mean over all FFNs, in the dense model. Chance is
  one in as many as there are experts.
- right answers by skill, to the character, and the perplexity of prose relative to the base's, of mixtures with one
  expert active. `base` around the experts means that all but FFNs is the base's, `sum` that the adapters were merged
  into it before, as their sum times 0.7: then attention has a part of each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.analysis.cues import Cues, encode_cues, parse_cues
from brickctl.analysis.exact_match import exact_match
from brickctl.analysis.examples import Example, read_examples
from brickctl.analysis.expert_gates import shares
from brickctl.analysis.ffn import find_ffns
from brickctl.analysis.load import load
from brickctl.analysis.perplexity import mean_losses, rows_of
from tests.support.building import build, manifest
from tests.support.deriving import derive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOMAINS = Path(__file__).parents[1] / "support" / "domains.jsonl"
METHODS = ("centroids", "hidden", "cheap-embed")


def halves(bricks: Mapping[str, Path]) -> tuple[dict[str, list[Example]], dict[str, list[Example]]]:
    """What gates are derived from, and what is measured; prose is the base's."""
    found = {name: list(read_examples(folder / "heldout.jsonl")) for name, folder in bricks.items()}
    lines = map(json.loads, DOMAINS.read_text().splitlines())
    found["base"] = [Example("", line["text"]) for line in lines if line["label"] == "prose"]
    return {name: one[::2] for name, one in found.items()}, {name: one[1::2] for name, one in found.items()}


def lines_of(texts: Mapping[str, Sequence[Example]]) -> str:
    """Cues: of a skill its prompts with their completions, of prose the text."""
    rows = [
        {"prompt": one.prompt, "completion": one.completion, "label": name}
        if one.prompt
        else {"text": one.completion, "label": name}
        for name, examples in texts.items()
        for one in examples
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def derived(
    base: Path, bricks: Mapping[str, Path], scratch: Path, measured: str, methods: Sequence[str]
) -> dict[str, Path]:
    """Gates by each method; prints what they make of text that they are not from."""
    loaded, found = load(base, dtype="float32", threads=1), dict[str, Path]()
    cues: Cues = encode_cues(loaded.tokenizer, parse_cues(measured, name="measured"), name="measured")
    ffns = find_ffns(loaded.model)
    for method in methods:
        begin, folder = time.perf_counter(), scratch / method
        findings = derive(base, bricks, f'op = "gates"\nmethod = "{method}"\nprompts = "learned.jsonl"', folder)
        seconds = time.perf_counter() - begin
        labels = json.loads((folder / "gates_config.json").read_text())["labels"]
        order = torch.tensor([labels.index(label) for label in cues.labels])
        rows = load_file(folder / "model.safetensors")
        own = shares(loaded.model, ffns, cues, [rows[f"{ffn.name}.weight"][order] for ffn in ffns])
        mean = sum(own) / len(own)
        print(f"{method:12} {seconds:5.1f} s  own {mean:.2f}, by FFN {min(own):.2f} to {max(own):.2f}", flush=True)
        for note in findings.notes[1:]:
            print(f"    {note}")
        found[method] = folder
    return found


def measure(
    folder: Path, skills: Mapping[str, Sequence[Example]], prose: Sequence[str]
) -> tuple[dict[str, float], float]:
    """The share of right answers by skill, and the loss on prose."""
    loaded = load(folder, dtype="float32", threads=1)
    right = {}
    for name, examples in skills.items():
        answered = exact_match(loaded.model, loaded.tokenizer, examples, batch_size=24)
        right[name] = answered.right / answered.count
    rows = rows_of(loaded.model, loaded.tokenizer, prose, window=256)
    return right, mean_losses(loaded.model, [rows])[0]


def main() -> None:
    """Derive, build and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapters", type=Path, nargs="+")
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--scratch", type=Path)
    options = parser.parse_args()
    bricks = {folder.name: folder.resolve() for folder in options.adapters}
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        scratch = Path(name)
        learned, measured = halves(bricks)
        (scratch / "learned.jsonl").write_text(lines_of(learned))
        gates = derived(options.base.resolve(), bricks, scratch, lines_of(measured), options.methods)
        skills = {name: measured[name][: options.items] for name in bricks}
        prose = [one.completion for one in measured["base"]]
        _, plain = measure(options.base, {}, prose)
        experts = json.dumps([*bricks, "base"])
        added = ", ".join(f"{alias} = 0.7" for alias in bricks)
        merge = f'{{ op = "merge", method = "task_arithmetic", bricks = {{ {added} }} }}'
        steps = {"sum, no experts": merge}
        for method in options.methods:
            step = f'{{ op = "moe", experts = {experts}, active = 1, gates = "gates" }}'
            steps |= {f"base, {method}": step, f"sum, {method}": f"{merge}, {step}"}
        for label, apply in steps.items():
            known = {**bricks, "gates": gates.get(label.partition(", ")[2], next(iter(gates.values())))}
            folder = build(manifest(options.base.resolve(), known, apply), scratch / "built", threads=1)
            right, loss = measure(folder, skills, prose)
            said = ", ".join(f"{name} {share:.0%}" for name, share in right.items())
            print(f"{label:18} {said}, prose x {torch.tensor(loss - plain).exp():.3f}", flush=True)


if __name__ == "__main__":
    main()
