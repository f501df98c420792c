"""Pruned for one brick or for another: what is left of the skill of each adapter on a real model.

    python tests/benchmarks/prune_bricks.py BASE ADAPTER ADAPTER... [--keep 48] [--texts FOLDER] [--scratch FOLDER]

Adapters are folders with a `heldout.jsonl` of prompts and completions: half of it, and text of four kinds, is what the
groups of neurons are heard on, with each adapter on the base; the other half is what is measured. Groups are 64, by
co-activation. Each adapter is merged, and then `keep` groups of every FFN stay: chosen for this adapter, for another
one, by mass, or for prose. Printed: how many completions a greedy model says to the last token, and the
mean loss of a completion in nats a token.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.analysis.load import load
from tests.support.texts import halves, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Example = Mapping[str, str]

GROUPS = 64
TEXTS = 24
"""How many texts of each other kind are heard."""


def project(folder: Path, base: Path, adapters: Mapping[str, Path], keep: int) -> Mapping[tuple[str, str], str]:
    """Write the manifest; the targets by adapter and by what they are pruned for, nothing for those that are not."""
    sources = "\n".join(f'{name} = {{ source = "path:{path}" }}' for name, path in adapters.items())
    choices = {"nothing": None, **{name: f'bricks = ["{name}"]' for name in adapters}}
    choices |= {"mass": 'by = "mass"', "prose": 'labels = ["prose"]'}
    names, targets = dict[tuple[str, str], str](), list[str]()
    for adapter in adapters:
        for choice, which in choices.items():
            names[adapter, choice] = f"{adapter}-for-{choice}"
            steps = [f'{{ op = "merge", method = "task_arithmetic", bricks = {{ {adapter} = 1.0 }} }}']
            steps += [] if which is None else [f'{{ op = "prune", brick = "groups", keep = {keep}, {which} }}']
            targets.append(f"[targets.{names[adapter, choice]}]\napply = [{', '.join(steps)}]\n")
    split = (
        f'[derived.groups]\nop = "split"\nfrom = "base"\nmethod = "coactivation"\nexperts = {GROUPS}\nrouter = "none"\n'
        f'calibration = "calibration.jsonl"\nbricks = {json.dumps(list(adapters))}\n'
    )
    head = f'[project]\nname = "pruned"\n\n[base]\nsource = "path:{base}"\n\n[bricks]\n{sources}\n'
    (folder / "brick.toml").write_text("\n".join((head, split, *targets)))
    return names


def said(folder: Path, examples: Sequence[Example]) -> tuple[int, float]:
    """How many completions the model says greedily, and their mean loss, nats for each token."""
    loaded = load(folder, dtype="float32")
    found = [_said(loaded.model, loaded.tokenizer, example) for example in examples]
    tokens = sum(count for _, _, count in found)
    return sum(whole for whole, _, _ in found), sum(loss for _, loss, _ in found) / tokens


def _said(model: Any, tokenizer: Any, example: Example) -> tuple[bool, float, int]:
    """A completion is said where each of its tokens is the likeliest behind those before it."""
    start = len(tokenizer(example["prompt"]).input_ids)
    tokens = tokenizer(example["prompt"] + example["completion"], return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(tokens).logits[0, start - 1 : -1]
    wanted = tokens[0, start:]
    loss = float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
    return bool((logits.argmax(dim=1) == wanted).all()), loss, len(wanted)


def calibration(heard: Mapping[str, Sequence[Example]], scratch: Path) -> Iterator[str]:
    """Lines of labelled prompts: those of adapters bear their names."""
    other, _ = halves(texts(scratch))
    for kind, every in other.items():
        yield from (json.dumps({"text": text, "label": kind}) for text in every[:TEXTS])
    for name, examples in heard.items():
        yield from (json.dumps({**example, "label": name}) for example in examples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapters", type=Path, nargs="+")
    parser.add_argument("--keep", type=int, default=48)
    parser.add_argument("--texts", type=Path, help="where handbooks are, or are fetched to")
    parser.add_argument("--scratch", type=Path, help="where models are built; a temporary folder unless given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        scratch = Path(folder)
        adapters = {path.name: path.absolute() for path in arguments.adapters}
        read = {
            name: [json.loads(line) for line in (path / "heldout.jsonl").read_text().splitlines()]
            for name, path in adapters.items()
        }
        heard, measured = ({name: every[at::2] for name, every in read.items()} for at in (0, 1))
        lines = calibration(heard, arguments.texts or scratch / "texts")
        (scratch / "calibration.jsonl").write_text("\n".join(lines) + "\n")
        names = project(scratch, arguments.base.absolute(), adapters, arguments.keep)
        _run(scratch, "derive")
        print(f"{arguments.keep} of {GROUPS} groups; completions said, and nats a token")
        for (adapter, choice), target in names.items():
            _run(scratch, "build", target)
            whole, loss = said(scratch / "dist" / target, measured[adapter])
            words = "whole" if choice == "nothing" else f"pruned for {choice}"
            print(f"{adapter:10} {words:22} {whole:3} of {len(measured[adapter])}  {loss:.3f}", flush=True)


def _run(folder: Path, *words: str) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "BRICKCTL_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "brickctl", *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
