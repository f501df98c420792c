"""Merge methods beside mergekit, as whole processes: a Llama of 0.75 B parameters in bf16 and three fine-tunes of it.

    python tests/benchmarks/methods.py [--rounds 5] [--scratch FOLDER] [--only ties,slerp] [--json FILE]
    python tests/benchmarks/methods.py --only linear,task_arithmetic --layers 36 --alone --scratch FOLDER

Every row merges the same models with the same parameters. mergekit runs with its default flags and with those that are
best here: small output shards, asynchronous writing. brickctl knows its inputs from an earlier run, as mergekit
hashes nothing; it does hash what it makes. The floor reads the inputs of the row, copies one model, hashes the copy.
With `--layers 36` inputs are 10 GB and more; `--alone` leaves mergekit out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from processes import Round, measure, medians

LAYERS, HIDDEN, INNER, KEYS, VOCABULARY = 16, 2048, 5632, 512, 32_000
SHARDS = 4
MODELS = ("base", "one", "two", "three")
LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}

PEERS = ("mergekit", "mergekit, best flags")

FLOOR = """
import hashlib, shutil, sys
from pathlib import Path
output, *models = sys.argv[1:]
for folder in models:
    for path in Path(folder).glob("*.safetensors"):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
shutil.copytree(models[0], output)
for path in Path(output).glob("*.safetensors"):
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
"""


@dataclass(frozen=True)
class Row:
    """A merge: models beside the base, what mergekit's recipe says, and what the step of brick.toml says."""

    method: str
    models: tuple[str, ...] = ("one", "two", "three")
    each: dict[str, float] = field(default_factory=dict)  # parameters of every model, in both languages
    theirs: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    based: bool = True
    wanted: float | None = None


ROWS = {
    "passthrough": Row("passthrough", ("one",), based=False, wanted=5),
    "linear": Row("linear", each={"weight": 0.3}, based=False, wanted=4),
    "slerp": Row("slerp", ("one", "two"), theirs={"t": 0.4}, ours={"t": 0.4}, wanted=4),
    "task_arithmetic": Row("task_arithmetic", each={"weight": 0.3}, wanted=4),
    "dare_ties": Row("dare_ties", each={"weight": 0.3, "density": 0.5}, theirs={"normalize": True}, wanted=10),
    "ties": Row("ties", each={"weight": 0.3, "density": 0.5}, wanted=20),
}


def make(folder: Path, layers: int) -> None:
    """Write the base and three fine-tunes of random bf16 weights, in four shards each, unless they are there."""
    for number, name in enumerate(MODELS):
        if not (folder / name).exists():
            partial = folder / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _write_model(partial, number, layers)
            partial.rename(folder / name)


def _write_model(folder: Path, number: int, layers: int) -> None:
    import torch
    from safetensors.torch import save_file

    names = _names(layers)
    index, total = {}, 0
    for shard in range(SHARDS):
        tensors = {}
        for place in range(shard, len(names), SHARDS):
            name, shape = names[place]
            tensor = torch.randn(shape, generator=torch.Generator().manual_seed(place)) * 0.02
            if number:
                own = torch.Generator().manual_seed(1000 * number + place)
                tensor += torch.randn(shape, generator=own) * 0.002
            tensors[name] = tensor.bfloat16()
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        save_file(tensors, folder / file, {"format": "pt"})
        index |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    document = {"metadata": {"total_size": total}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(document))
    (folder / "config.json").write_text(json.dumps(_config(layers)))


def _names(layers: int) -> list[tuple[str, tuple[int, ...]]]:
    names: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (VOCABULARY, HIDDEN))]
    for layer in range(layers):
        names += [(f"model.layers.{layer}.{name}.weight", shape) for name, shape in LINEAR.items()]
        names += [(f"model.layers.{layer}.{name}_layernorm.weight", (HIDDEN,)) for name in ("input", "post_attention")]
    return [*names, ("model.norm.weight", (HIDDEN,)), ("lm_head.weight", (VOCABULARY, HIDDEN))]


def _config(layers: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }


def recipe(row: Row, models: Path) -> dict[str, Any]:
    """The row as mergekit reads it: its arithmetic in bf16, which is its fastest."""
    based = {"base_model": str(models / "base")} if row.based else {}
    entries = [{"model": str(models / name), "parameters": dict(row.each)} for name in row.models]
    if row.method == "slerp":  # the base is one of the two models
        based, entries = {"base_model": str(models / "one")}, [{"model": str(models / name)} for name in row.models]
    shared = {"parameters": row.theirs} if row.theirs else {}
    return {"merge_method": row.method, **based, "models": entries, "dtype": "bfloat16", **shared}


def manifest(row: Row, models: Path) -> str:
    """The row as brick.toml."""
    bricks = [f'{name} = {{ source = "path:{models / name}", kind = "expert" }}' for name in row.models]
    own = "".join(f", {key} = {json.dumps(value)}" for key, value in row.ours.items())
    each = "".join(f", {key} = {value}" for key, value in row.each.items())
    named = ", ".join(f'{{ brick = "{name}"{each} }}' for name in row.models)
    step = f'{{ op = "merge", method = "{row.method}"{own}, bricks = [{named}] }}'
    head = f'[project]\nname = "benchmark"\n\n[base]\nsource = "path:{models / "base"}"\n\n[bricks]\n'
    return head + "\n".join(bricks) + f"\n\n[targets.merged]\napply = [{step}]\n"


def contestants(name: str, row: Row, scratch: Path, *, alone: bool) -> dict[str, list[str]]:
    """Command lines by name, in the order in which a round runs them."""
    models, place = scratch / "models", scratch / name
    place.mkdir(exist_ok=True)
    (place / "recipe.yml").write_text(json.dumps(recipe(row, models)))
    (place / "brick.toml").write_text(manifest(row, models))
    output = str(scratch / "output")
    mergekit = [sys.executable, "-m", "mergekit.scripts.run_yaml", str(place / "recipe.yml"), output, "--quiet"]
    best = ["--out-shard-size", "200M", "--async-write", "--lazy-unpickle", "--no-write-model-card"]
    named = [str(models / one) for one in ((*row.models, "base") if row.based else row.models)]
    peers = {} if alone else dict(zip(PEERS, (mergekit, [*mergekit, *best]), strict=True))
    return {
        **peers,
        "brickctl": [sys.executable, "-m", "brickctl", "build", "--project", str(place), "--quiet"],
        "floor": [sys.executable, "-c", FLOOR, output, *named],
    }


def run_row(commands: dict[str, list[str]], name: str, rounds: int, scratch: Path) -> dict[str, list[Round]]:
    """Alternate the contestants, so that a busy moment of the machine meets all of them."""
    variables = {"BRICKCTL_CACHE": str(scratch / "caches"), "PYTHONPATH": str(Path(__file__).parents[2])}
    environment = {**os.environ, **variables}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as pip has done for mergekit
    outputs = scratch / "output", scratch / name / "dist"
    subprocess.run(commands["brickctl"], env=environment, check=True)  # so that its inputs are known
    found: dict[str, list[Round]] = {contestant: [] for contestant in commands}
    for number in range(1, rounds + 1):
        for contestant, command in commands.items():
            for output in outputs:
                shutil.rmtree(output, ignore_errors=True)
            done = measure(command, environment)
            found[contestant].append(done)
            figures = f"{done.wall:8.2f} s {done.cores:8.2f} core s {done.anonymous:8.0f} MiB"
            print(f"{name:16} round {number}  {contestant:24}{figures}", flush=True)
    return found


def report(results: dict[str, dict[str, Round]]) -> None:
    """Medians: how many times faster than mergekit at its best, and how many times the floor."""
    print(
        f"\n{'median':16}{'mergekit':>10}{'best':>10}{'brickctl':>10}{'faster':>9}{'wanted':>8}{'floors':>8}{'memory':>10}"
    )
    for name, middle in results.items():
        ours, theirs = middle["brickctl"], [middle[one].wall for one in PEERS if one in middle]
        walls = "".join(f"{wall:>8.1f} s" for wall in theirs) if theirs else " " * 20
        walls += f"{ours.wall:>8.1f} s"
        faster = f"{min(theirs) / ours.wall:>9.1f}{ROWS[name].wanted or 0:>8g}" if theirs else " " * 17
        ratios = f"{faster}{ours.wall / middle['floor'].wall:>8.1f}"
        print(f"{name:16}{walls}{ratios}{ours.anonymous:>6.0f} MiB")


def machine() -> str:
    """In words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line for line in lines if line.startswith("flags")), "")
    return f"{os.cpu_count()} cores ({model}{', AVX-512' if 'avx512f' in flags else ''})"


def main() -> None:
    """Read the arguments, run, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="10 GB; kept, so that the models are made once")
    parser.add_argument("--layers", type=int, default=LAYERS, help="with a scratch folder of its own")
    parser.add_argument("--alone", action="store_true", help="brickctl and the floor, without mergekit")
    parser.add_argument("--only", help=f"rows, of {', '.join(ROWS)}")
    parser.add_argument(
        "--json", type=Path, help="where the medians are written; rows that are there and not run again stay"
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="brickctl-benchmark-") as own:
        scratch = (wanted.scratch or Path(own)).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(1) as maker:  # a process of its own: children inherit the peak of their parent
            maker.submit(make, scratch / "models", wanted.layers).result()
        names = wanted.only.split(",") if wanted.only else list(ROWS)
        commands = {name: contestants(name, ROWS[name], scratch, alone=wanted.alone) for name in names}
        rounds = {name: run_row(commands[name], name, wanted.rounds, scratch) for name in names}
    results = {name: {one: medians(done) for one, done in found.items()} for name, found in rounds.items()}
    report(results)
    if wanted.json is not None:
        medians_of = {name: {one: asdict(middle) for one, middle in found.items()} for name, found in results.items()}
        rows = {name: {"rounds": wanted.rounds, "medians": found} for name, found in medians_of.items()}
        known = json.loads(wanted.json.read_text())["rows"] if wanted.json.exists() else {}
        document = {"machine": machine(), "rows": {**known, **rows}}
        wanted.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
