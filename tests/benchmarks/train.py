"""A small LoRA for a real model: how fast it is trained, what it learns, in how much memory, and whether it goes on.

    python tests/benchmarks/train.py BASE [--tokens 4000] [--batch 8] [--lr 1e-3] [--threads 1]

The skill is to shout a word: ` HOUSE` after `Word: house` and a line break. A third of the words are asked for that no
example has. Then the same is trained for six steps twice, once with a Ctrl-C in between: the bytes must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

_WORDS = """
    apple bread chair dance eagle field glass house island jacket kettle lemon market needle orange
    paper queen river spoon table uncle valley window yellow zebra anchor basket candle dinner
    engine flower garden hammer insect jungle kitchen ladder mirror nature office pencil quarter
    rabbit school tunnel umbrella village winter yogurt animal bridge camera doctor evening forest
    guitar harbor iron jewel king lamp mountain north ocean picture rain summer train water
"""
WORDS = tuple(_WORDS.split())

MANIFEST = """
[project]
name = "bench"

[base]
source = "path:{base}"
"""

CHECKED = """
[targets.shouting]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { shout = 1.0 } }]

[[checks]]
name = "words-read"
target = "shouting"
kind = "exact-match"
data = "shout.jsonl"
min = 0.0

[[checks]]
name = "words-of-no-example"
target = "shouting"
kind = "exact-match"
data = "check.jsonl"
min = 0.0
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("--tokens", default="4000")
    parser.add_argument("--batch", default="8")
    parser.add_argument("--lr", default="1e-3")
    parser.add_argument("--threads", default="1")
    told = parser.parse_args()
    common = ("--batch", told.batch, "--lr", told.lr, "--threads", told.threads)
    with tempfile.TemporaryDirectory() as place:
        project = project_in(Path(place) / "project", told.base.resolve())
        begun = time.monotonic()
        answer = train(project, *common, "--tokens", told.tokens)
        seconds = time.monotonic() - begun
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        held, read = answer["held-out"], answer["tokens"]["read"]
        print(f"{read} tokens in {answer['steps']} steps, {seconds:.0f} s in all: {read / seconds:.0f} tokens a second")
        print(f"peak {peak:.2f} GB; brick {answer['size'] / 1e6:.1f} MB")
        print(f"held out: loss {held['before']:.3f} before, {held['after']:.3f} after")
        with (project / "brick.toml").open("a") as manifest:
            manifest.write(CHECKED)
        for score in json.loads(brickctl(project, "test", "--json").stdout)["scores"]:
            print(f"{score['check']} shouted right: {score['value']:.0%} of {score['count']}")
        print(
            f"six steps with Ctrl-C after two leave the same bytes: {goes_on(Path(place), told.base.resolve(), common)}"
        )


def project_in(folder: Path, base: Path) -> Path:
    """A project on the base, with examples of two thirds of the words and a check of the others."""
    folder.mkdir()
    (folder / "brick.toml").write_text(MANIFEST.format(base=base))
    for name, words in (
        ("shout.jsonl", [word for at, word in enumerate(WORDS) if at % 3]),
        ("check.jsonl", WORDS[::3]),
    ):
        lines = ({"prompt": f"Word: {word}\nShouted:", "completion": f" {word.upper()}"} for word in words)
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def train(project: Path, *options: str) -> Any:
    """Train the brick; what it answers."""
    return json.loads(brickctl(project, "train", "shout", "--data", "shout.jsonl", *options, "--json").stdout)


def goes_on(place: Path, base: Path, common: tuple[str, ...]) -> bool:
    """Whether a training that was stopped leaves the bytes of one that was not."""
    common = (*common, "--steps", "6", "--held-out", "0")
    whole, halved = (project_in(place / name, base) for name in ("whole", "halved"))
    train(whole, *common)
    command = [sys.executable, "-m", "brickctl", "train", "shout", "--data", "shout.jsonl", *common]
    with subprocess.Popen(command, cwd=halved, env=environment(halved), stderr=subprocess.PIPE, text=True) as child:
        for line in child.stderr or ():
            if "step 2 of 6" in line:
                child.send_signal(signal.SIGINT)
        stopped = child.wait()
    train(halved, *common, "--resume")
    files = [sorted((one / "bricks/shout").iterdir()) for one in (whole, halved)]
    same = all(ours.read_bytes() == theirs.read_bytes() for ours, theirs in zip(*files, strict=True))
    return stopped == 130 and same


def brickctl(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run brickctl in a project; its notes go where those of this program go."""
    command = [sys.executable, "-m", "brickctl", *arguments]
    done = subprocess.run(
        command, cwd=project, env=environment(project), stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout)
    return done


def environment(project: Path) -> dict[str, str]:
    """Caches beside the project."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "BRICKCTL_CACHE": str(project.parent / "cache")}


if __name__ == "__main__":
    main()
