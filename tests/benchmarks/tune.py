"""Weights that are searched for against the best that were set by hand, on a real model: what each skill keeps.

    python tests/benchmarks/tune.py --base FOLDER --adapters FOLDER... [--half 0] [--trials 30] [--seed 0] [--again]

Adapters are folders with a `heldout.jsonl` of prompts and completions. One half of it decides (`--half 1` swaps them);
of the other half the first `few` examples of each skill are tuned by. What is set by hand is the best of
shared/real/README.md: TIES with density 0.5 and every weight 1. Two searches go on from it: of TIES, whose density is
searched for too, and of task arithmetic. Each is `brickctl tune` as a user runs it, in a project and with caches of its
own, so nothing is known before.

Printed: seconds of each search, its numbers, and the share of greedy answers that are right to the character on the
half that decides, before and after. `--again` runs the last one once more upon what it has measured, and
once more anew: both must find the same winner.
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

from brickctl.core.step_edit import inline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HAND = {"op": "merge", "method": "ties", "density": 0.5}
METHODS = ("ties", "task_arithmetic")
CHECK = '[[checks]]\nname = "{name}"\ntarget = "all"\nkind = "exact-match"\ndata = "{name}.jsonl"\nmin = 0'


def make_project(folder: Path, base: Path, adapters: Mapping[str, Path], half: int, few: int) -> list[str]:
    """A project with a check for each skill, and the files that are tuned by."""
    data: list[str] = []
    parts = ['[project]\nname = "tune"', f"[base]\nsource = {inline(f'path:{base}')}", "[bricks]"]
    parts += [f"{name} = {{ source = {inline(f'path:{adapter}')} }}" for name, adapter in adapters.items()]
    bricks = inline(dict.fromkeys(adapters, 1.0))
    parts.append(f"[targets.all]\napply = [{inline(HAND)[:-2]}, bricks = {bricks} }}]")
    for name, adapter in adapters.items():
        lines = (adapter / "heldout.jsonl").read_text().splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[half::2]))
        (folder / f"tune-{name}.jsonl").write_text("".join(lines[1 - half :: 2][:few]))
        parts.append(CHECK.format(name=name))
        data += ["--data", f"tune-{name}.jsonl"]
    (folder / "brick.toml").write_text("\n".join(parts) + "\n")
    return data


def tuned(project: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """What `brickctl tune` answers, and the seconds that it took."""
    environment = {**os.environ, "BRICKCTL_CACHE": str(project / "cache"), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "brickctl", "tune", "all", "--json", "-q", "--dry-run", *arguments]
    begun = time.perf_counter()
    run = subprocess.run(command, cwd=project, env=environment, check=True, stdout=subprocess.PIPE)
    return {**json.loads(run.stdout), "seconds": time.perf_counter() - begun}


def row(label: str, shares: Mapping[str, float], more: str = "") -> str:
    """One line of the table."""
    cells = [f"{100 * share:>9.1f}" for share in (*shares.values(), sum(shares.values()) / len(shares))]
    return f"{label:<24}{''.join(cells)}  {more}"


def main() -> None:
    """Search, print, and search again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, nargs="+", required=True)
    parser.add_argument("--half", type=int, choices=(0, 1), default=0)
    parser.add_argument("--few", type=int, default=24)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--more", nargs="*", default=(), help="further arguments of `brickctl tune`, without dashes")
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args()
    adapters = {folder.name: folder.resolve() for folder in given.adapters}
    usual = ["--trials", str(given.trials), "--seed", str(given.seed), *(f"--{word}" for word in given.more)]
    with tempfile.TemporaryDirectory() as place:
        last: dict[str, Any] = {}
        for method in given.methods:
            project = Path(place) / method
            project.mkdir()
            arguments = [*make_project(project, given.base.resolve(), adapters, given.half, given.few), *usual]
            last = tuned(project, [*arguments, "--method", method])
            report(last, adapters, first=method == given.methods[0])
        if given.again:
            anew = Path(place) / "anew"
            anew.mkdir()
            make_project(anew, given.base.resolve(), adapters, given.half, given.few)
            for folder in (project, anew):
                again = tuned(folder, [*arguments, "--method", given.methods[-1]])
                same = "the same" if again["steps"] == last["steps"] else "ANOTHER"
                print(f"{again['measured']} measured, {again['seconds']:.0f} s: {same} winner", flush=True)


def report(found: Mapping[str, Any], skills: Mapping[str, Path], *, first: bool) -> None:
    """Print what a search found; with what stands there, where it is the first."""
    if first:
        print(" " * 24 + "".join(f"{name:>9}" for name in (*skills, "mean")))
        print(row("ties 0.5, set by hand", {one["check"]: one["before"] for one in found["held_out"]}), flush=True)
    numbers = ", ".join(f"{name} {value:g}" for name, value in found["numbers"].items())
    loss = f"loss {found['loss']['before']:.3f} -> {found['loss']['after']:.3f}"
    more = f"{numbers}; {loss}; {found['trials']} trials, seed {found['seed']}, {found['seconds']:.0f} s"
    after = {one["check"]: one["after"] for one in found["held_out"]}
    print(row(found["method"], after, more), flush=True)


if __name__ == "__main__":
    main()
