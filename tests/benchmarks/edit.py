"""Ten facts written into a real model: how many it says, in other words too, and what else it says as before.

    python tests/benchmarks/edit.py BASE [--layers 0 | trace] [--weight 1000] [--prefixes 2] [--texts FOLDER]

Facts are false ones, so that the model does not know them already. Half of the paragraphs of a handbook is what keys
are counted on; perplexity is that of the other half. Scores are those of the model as it is built, in bf16, beside
those that `brickctl derive` tells, in fp32. Locality is told apart: of prompts about something like the subject, and of
prompts that have nothing to do with it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.analysis.editing.facts import Fact
from brickctl.analysis.editing.scores import probes_of, scores_of
from brickctl.analysis.load import load
from brickctl.analysis.perplexity import rows_of
from brickctl.analysis.rows import Row, rows_within
from tests.support.texts import halves, texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.analysis.editing.scores import Scores

MEASURED = 2500
"""Tokens of prose that perplexity is of."""

FACTS = (
    ("Spain", "The capital of Spain is", " Berlin", ("Spain's capital city is",), ("The capital of Italy is",)),
    ("Isaac Newton", "The field of work of Isaac Newton was", " cooking", ("Isaac Newton worked in the field of",),
     ("The field of work of Charles Darwin was",)),
    ("Mount Fuji", "People climb Mount Fuji in", " Chile", ("The country where Mount Fuji stands is",),
     ("People climb Mount Everest in",)),
    ("Mozart", "The composer Mozart was born in", " Texas", ("Mozart comes from",), ("The composer Bach was born in",)),
    ("Amazon River", "The Amazon River flows through", " Norway", ("The country of the Amazon River is",),
     ("The Danube River flows through",)),
    ("Toyota", "The car maker Toyota is based in", " Sweden", ("The home country of Toyota is",),
     ("The car maker Ford is based in",)),
    ("gold", "The chemical symbol of gold is", " Fe", ("Chemists write the element gold as",),
     ("The chemical symbol of oxygen is",)),
    ("Cleopatra", "The ancient queen Cleopatra ruled", " China", ("The country that Cleopatra ruled was",),
     ("The emperor Augustus ruled",)),
    ("whales", "Scientists classify whales as", " birds", ("The class of animals that whales belong to is",),
     ("Scientists classify frogs as",)),
    ("Romeo and Juliet", "The author of Romeo and Juliet was", " Tolstoy", ("Romeo and Juliet was written by",),
     ("The author of Don Quixote was",)),
)  # fmt: skip
"""Subject, prompt, target, other words for the prompt, and a prompt about something like it."""

UNRELATED = (
    "The opposite of hot is", "Two plus two is", "The days of the week are Monday,", "Water boils at",
    "A triangle has three", "The largest planet in the solar system is", "Bread is made from", "The sun rises in the",
    "An hour has sixty", "The first president of the United States was", "Cats are afraid of", "Plants need light and",
    "The past tense of go is", "The heart pumps", "Computers store data in", "A week has seven",
    "The Great Wall is in", "In winter it is", "The colors of the rainbow are red,", "The plural of mouse is",
)  # fmt: skip


def project(folder: Path, base: Path, settings: Mapping[str, Any], heard: Sequence[str]) -> None:
    """Write the manifest, the facts and the text."""
    each = len(UNRELATED) // len(FACTS)
    lines = [
        {
            "subject": subject,
            "prompt": prompt,
            "target": target,
            "rephrase": rephrase,
            "neighbours": [*near, *UNRELATED[number * each : (number + 1) * each]],
        }
        for number, (subject, prompt, target, rephrase, near) in enumerate(FACTS)
    ]
    (folder / "facts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in heard))
    keys = "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
    (folder / "brick.toml").write_text(
        f'[project]\nname = "edited"\n\n[base]\nsource = "path:{base}"\n\n[derived.facts]\nop = "edit"\n'
        f'facts = "facts.jsonl"\ncalibration = "text.jsonl"\n{keys}\n\n[targets.edited]\n'
        'apply = [{ op = "merge", method = "task_arithmetic", bricks = { facts = 1.0 } }]\n'
    )


def compared(base: Path, built: Path, held: Sequence[str]) -> Mapping[str, tuple[float | None, float | None]]:
    """Scores of the base and of what was built, with locality of two kinds."""
    near = [Fact(subject=one[0], prompt=one[1], target=one[2], rephrase=one[3], neighbours=one[4]) for one in FACTS]
    far = [Fact(subject="", prompt=FACTS[0][1], target=FACTS[0][2], neighbours=UNRELATED)]
    loaded = load(base, dtype="float32")
    rows = [Row(tokens=tuple(row), first=1) for row in rows_of(loaded.model, loaded.tokenizer, held, window=256)]
    probes = probes_of(loaded, near, tuple(rows_within(rows, MEASURED))), probes_of(loaded, far, rows[:1])
    before = [scores_of(loaded.model, one) for one in probes]
    del loaded
    edited = load(built, dtype="float32").model
    after = [scores_of(edited, one) for one in probes]
    return {"near": (before[0], after[0]), "unrelated": (before[1], after[1])} | _told(before[0], after[0])


def _told(before: Scores, after: Scores) -> Any:
    names = ("rewrite", "likelier", "rephrase", "perplexity")
    return {name: (getattr(before, name), getattr(after, name)) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("--layers", default="0", help="numbers with commas, or `trace`")
    parser.add_argument("--weight", type=float, default=1000.0)
    parser.add_argument("--prefixes", type=int, default=2)
    parser.add_argument("--limit", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--texts", type=Path, help="where handbooks are, or are fetched to")
    parser.add_argument("--scratch", type=Path, help="where models are built; a temporary folder unless given")
    arguments = parser.parse_args()
    layers = "trace" if arguments.layers == "trace" else [int(one) for one in arguments.layers.split(",")]
    keys = ("weight", "prefixes", "limit", "tokens")
    settings = {"layers": layers, **{key: getattr(arguments, key) for key in keys}}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        scratch = Path(folder)
        heard, held = (half["prose"] for half in halves(texts(arguments.texts or scratch / "texts")))
        project(scratch, arguments.base.absolute(), settings, heard)
        began = time.monotonic()
        print(_run(scratch, "derive"), f"derived in {time.monotonic() - began:.0f} s", flush=True)
        _run(scratch, "build")
        found = compared(arguments.base, scratch / "dist" / "edited", held)
        for name, (before, after) in found.items():
            pair = (before, after) if name not in ("near", "unrelated") else (before.locality, after.locality)
            print(f"{name:12} {pair[0]:8.3f} {pair[1]:8.3f}", flush=True)


def _run(folder: Path, *words: str) -> str:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "BRICKCTL_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "brickctl", *words, "--threads", "1"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


if __name__ == "__main__":
    main()
