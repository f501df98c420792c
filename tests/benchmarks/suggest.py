"""Which stage of `brickctl suggest` puts the right brick first, for held-out examples of every skill.

    python tests/benchmarks/suggest.py [BASE ADAPTER ADAPTER...] [--count 12] [--threads 1] [--scratch FOLDER]

The starter bricks are asked for with the checks of the starter project and, again, with its labelled prompts. Where
they are named, a project over a model has these adapters instead: folders with a `heldout.jsonl`, of which one half
lies beside the adapter, as its author might leave it there, and `count` lines of the other half are the task. Printed:
the place of the right brick by words, by similarity, and by loss, with the loss before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.tensors.executor import Budget
from brickctl.workflows.suggesting.candidates import Where
from brickctl.workflows.suggesting.suggest import read_task, suggest
from brickctl.workflows.suggesting.suggestion import Suggested, Wish
from tests.support.projects import TEMPLATE, Listener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STARTER = ("upper", "next", "reverse", "odd", "sort")
STAGES = {"words": Wish(), "similarity": Wish(embed=True), "loss": Wish(measure=True)}


@dataclass
class Tally:
    """How often the right brick came first, by stage."""

    first: dict[str, int] = field(default_factory=dict)
    tasks: int = 0

    def line(self) -> str:
        return ", ".join(f"{stage} {right} of {self.tasks}" for stage, right in self.first.items())


def place(found: Suggested, skill: str) -> str:
    """The place of a brick, from 1 on; `-` where it was not found."""
    names = [one.candidate.name for one in found.suggestions]
    return str(names.index(skill) + 1) if skill in names else "-"


def judge(project: Path, skill: str, examples: Path, tally: Tally, budget: Budget) -> None:
    """One task by every stage."""
    cells = []
    tally.tasks += 1
    for stage, wish in STAGES.items():
        begun = time.perf_counter()
        found = suggest(Where(root=project, offline=True), read_task((), examples), wish, Listener(), budget)
        at = place(found, skill)
        tally.first[stage] = tally.first.get(stage, 0) + (at == "1")
        loss = next((one.loss for one in found.suggestions if one.candidate.name == skill), None)
        measured = "" if loss is None or found.base_loss is None else f", {found.base_loss:.3f} -> {loss:.3f}"
        cells.append(f"{stage} {at}{measured} ({time.perf_counter() - begun:.0f} s)")
    print(f"{skill:9} {'; '.join(cells)}", flush=True)


def starter(scratch: Path, count: int, budget: Budget) -> None:
    """The starter bricks: asked for with checks, which the project itself has, and with labelled prompts."""
    project = Path(shutil.copytree(TEMPLATE, scratch / "starter"))
    prompts = [json.loads(line) for line in (TEMPLATE / "prompts.jsonl").read_text().splitlines()]
    for kind in ("checks", "prompts"):
        tally = Tally()
        for skill in STARTER:
            lines = (TEMPLATE / "checks" / f"{skill}.jsonl").read_text().splitlines()
            labelled = [json.dumps(one) for one in prompts if one["label"] == skill]
            task = written(scratch / "task.jsonl", (lines if kind == "checks" else labelled)[:count])
            judge(project, skill, task, tally, budget)
        print(f"starter bricks, {kind}: first by {tally.line()}", flush=True)


def real(scratch: Path, base: Path, adapters: Sequence[Path], count: int, budget: Budget) -> None:
    """Adapters on a model of some size."""
    halves = {path.name: _halves(path / "heldout.jsonl") for path in adapters}
    project = _project(scratch / "real", base, adapters, {name: beside for name, (beside, _) in halves.items()})
    tally = Tally()
    for skill, (_, held) in halves.items():
        judge(project, skill, written(scratch / "task.jsonl", held[:count]), tally, budget)
    print(f"{base.name}: first by {tally.line()}", flush=True)


def written(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def _halves(path: Path) -> tuple[list[str], list[str]]:
    lines = path.read_text().splitlines()
    return lines[::2], lines[1::2]


def _project(folder: Path, base: Path, adapters: Sequence[Path], beside: Mapping[str, Sequence[str]]) -> Path:
    """A project with copies of the adapters, each with some examples in its folder."""
    for path in adapters:
        own = folder / path.name
        own.mkdir(parents=True)
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(path / file, own / file)
        written(own / "examples.jsonl", beside[path.name])
    bricks = "".join(f'{path.name} = {{ source = "path:{path.name}" }}\n' for path in adapters)
    head = f'[project]\nname = "real"\n\n[base]\nsource = "path:{base}"\n\n[bricks]\n{bricks}'
    (folder / "brick.toml").write_text(head)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", metavar="BASE ADAPTER")
    parser.add_argument("--count", type=int, default=12, help="examples of a task")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="where models are built; a temporary folder unless given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        os.environ["BRICKCTL_CACHE"] = f"{folder}/cache"
        budget = Budget(threads=arguments.threads)
        if arguments.models:
            base, *adapters = (path.absolute() for path in arguments.models)
            real(Path(folder), base, adapters, arguments.count, budget)
        else:
            starter(Path(folder), arguments.count, budget)


if __name__ == "__main__":
    main()
