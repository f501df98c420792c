"""How many of somebody's mergekit recipes become a project that locks and plans, as they are.

    python tests/benchmarks/recipes.py FOLDER

FOLDER holds recipes, such as the `examples` of mergekit's repository (version 0.1: six files). Each is imported; every
model of the Hub that it names is put on a local Hub, as a Llama of the right number of layers, and the project is
locked and planned (`build --dry-run`). What is refused is told by name.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tomli

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.tensors.header import write_header
from tests.support.hub import Hub

WIDTH = 8
_RANGE = re.compile(r"\[\s*\d+\s*,\s*(\d+)\s*\]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a recipe came, and why no further."""

    recipe: str
    stage: str
    reason: str = ""


def llama(layers: int) -> dict[str, bytes]:
    """The files of a Llama with so many layers, 8 wide."""
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": layers}
    inner = ("mlp.up_proj", "mlp.down_proj", "self_attn.q_proj")
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (16, WIDTH), "lm_head.weight": (16, WIDTH)}
    shapes |= {f"model.layers.{at}.{part}.weight": (WIDTH, WIDTH) for at in range(layers) for part in inner}
    specs = {name: Spec(DType.BF16, shape) for name, shape in {**shapes, "model.norm.weight": (WIDTH,)}.items()}
    body = bytes(sum(spec.bytes for spec in specs.values()))
    return {"config.json": json.dumps(config).encode(), "model.safetensors": write_header(specs) + body}


def play(recipe: Path, folder: Path) -> Outcome:
    """Import, lock and plan one recipe in a folder of its own."""
    text = recipe.read_text(encoding="utf-8")
    imported = run(folder, {}, "import", str(recipe))
    if imported.returncode:
        return Outcome(recipe.name, "refused", imported.stderr.splitlines()[0].removeprefix("error: "))
    manifest = tomli.loads((folder / "brick.toml").read_text(encoding="utf-8"))
    sources = [manifest["base"]["source"], *(brick["source"] for brick in manifest.get("bricks", {}).values())]
    layers = max([4, *(int(end) for end in _RANGE.findall(text) if "layer_range" in text)])
    with Hub() as hub:
        for name in dict.fromkeys(source.removeprefix("hf:") for source in sources):
            hub.repository(name).commit(llama(layers))
        environment = hub.environment(folder / "hf")
        for stage, verb in (("imported", ("lock",)), ("locked", ("build", "--dry-run"))):
            done = run(folder, environment, *verb)
            if done.returncode:
                return Outcome(recipe.name, stage, done.stderr.splitlines()[0].removeprefix("error: "))
    return Outcome(recipe.name, "planned")


def run(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of brickctl, in a process of its own."""
    own = {"BRICKCTL_CACHE": str(folder / "cache"), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "brickctl", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment, **own}, capture_output=True, text=True, check=False
    )


def main() -> None:
    """Play every recipe of a folder, and print the count."""
    recipes = sorted(Path(sys.argv[1]).resolve().glob("*.y*ml"))
    outcomes = []
    for recipe in recipes:
        with tempfile.TemporaryDirectory(prefix="brickctl-recipes-") as folder:
            outcomes.append(play(recipe, Path(folder)))
        print(f"{outcomes[-1].recipe:32} {outcomes[-1].stage:10} {outcomes[-1].reason}", flush=True)
    planned = sum(outcome.stage == "planned" for outcome in outcomes)
    print(f"{planned} of {len(outcomes)} recipes lock and plan as they are ({planned / len(outcomes):.0%})")


if __name__ == "__main__":
    main()
