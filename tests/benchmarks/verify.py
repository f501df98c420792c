"""How long `brickctl verify` takes beside `xargs -P2 openssl dgst -sha256` over the same files, which lie in memory.

    python tests/benchmarks/verify.py [--rounds 3] [--scratch FOLDER]

A project of 6.7 GB: a base of two shards, two fine-tunes and three adapters. What `verify` takes for a project of the
same form with hardly a byte in it is its start, and is taken off. It fails where the rest takes more than 1.2 times as
long.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 1.2
"""The ratio that may not be exceeded."""

MODULE = "model.layers.{}.self_attn.q_proj"
WIDTH = 4096
BASE = (40, 22)
"""Matrices of 33.6 MB in each shard of the base: 2.1 GB."""

EXPERTS = {"coder": 40, "writer": 22}
ADAPTERS = {"legal": 400, "mail": 200, "date": 50}
"""Ranks; an adapter of rank 400 has 6.6 MB for each of its layers."""

ADAPTED = 40


def pieces(count: int, first: int, width: int) -> dict[str, list[int]]:
    """Shapes of some matrices by name."""
    return {f"{MODULE.format(layer)}.weight": [width, width] for layer in range(first, first + count)}


def write_weights(path: Path, shapes: dict[str, list[int]], seed: int) -> None:
    """A safetensors file of BF16 whose numbers are small and no two megabytes of which are alike."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * shape[0] * shape[1]]}
        at += 2 * shape[0] * shape[1]
    header = json.dumps(entries).encode()
    block = b"\x00\x3c" * (1 << 19)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for number in range(-(-at // len(block))):
            mark = struct.pack("<HH", seed, number)
            file.write((mark + block[4:])[: at - number * len(block)])


def write_model(folder: Path, shards: tuple[int, ...], width: int, seed: int) -> None:
    """A model of matrices, with an index where it has several shards."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    places: dict[str, str] = {}
    for number, count in enumerate(shards, 1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        shapes = pieces(count, len(places), width)
        places |= dict.fromkeys(shapes, name)
        write_weights(folder / name, shapes, seed + number)
    if len(shards) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def write_adapter(folder: Path, rank: int, width: int, seed: int) -> None:
    """A LoRA on some of the matrices."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    shapes = {}
    for layer in range(ADAPTED):
        shapes[f"base_model.model.{MODULE.format(layer)}.lora_A.weight"] = [rank, width]
        shapes[f"base_model.model.{MODULE.format(layer)}.lora_B.weight"] = [width, rank]
    write_weights(folder / "adapter_model.safetensors", shapes, seed)


def make(project: Path, width: int) -> None:
    """A locked project; nothing is done where it is there already."""
    if (project / "brick.lock").exists():
        return
    shutil.rmtree(project, ignore_errors=True)
    write_model(project / "base", BASE, width, 100)
    for number, (name, count) in enumerate(EXPERTS.items()):
        write_model(project / name, (count, sum(BASE) - count) if count < ADAPTED else (sum(BASE),), width, 10 * number)
    for number, (name, rank) in enumerate(ADAPTERS.items()):
        write_adapter(project / name, rank, width, 200 + number)
    bricks = [f'{name} = {{ source = "path:{name}" }}' for name in (*EXPERTS, *ADAPTERS)]
    parts = ("[project]", 'name = "verify"', "[base]", 'source = "path:base"', "[bricks]", *bricks)
    (project / "brick.toml").write_text("\n".join(parts) + "\n")
    subprocess.run([sys.executable, "-m", "brickctl", "lock", "--quiet"], cwd=project, check=True)


def seconds(command: list[str], folder: Path, given: bytes = b"") -> float:
    """Wall time of a whole process."""
    begin = time.perf_counter()
    subprocess.run(command, cwd=folder, input=given, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def main() -> int:
    """Print every round and the medians; 1 when `verify` takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="7 GB; kept, so that the files are made once")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        scratch = (arguments.scratch or Path(passing)).resolve()
        os.environ["BRICKCTL_CACHE"] = str(scratch / "cache")
        make(scratch / "large", WIDTH)
        make(scratch / "small", 8)
        return run(scratch, arguments.rounds)


def run(scratch: Path, rounds: int) -> int:
    """The three take turns; the first turn only brings the files into memory."""
    files = sorted(path for path in (scratch / "large").rglob("*") if path.suffix in {".safetensors", ".json"})
    size = sum(path.stat().st_size for path in files)
    verify = [sys.executable, "-m", "brickctl", "verify", "--quiet"]
    openssl = ["xargs", "-0", "-P2", "-n1", "openssl", "dgst", "-sha256"]
    names = b"\0".join(str(path).encode() for path in files)
    print(f"{len(files)} files, {size / 1e9:.2f} GB")
    taken: list[tuple[float, float, float]] = []
    for number in range(rounds + 1):
        found = (
            seconds(verify, scratch / "large"),
            seconds(verify, scratch / "small"),
            seconds(openssl, scratch / "large", names),
        )
        if number:
            taken.append(found)
            print("round {}  verify {:.2f} s, start {:.2f} s, openssl {:.2f} s".format(number, *found), flush=True)
    whole, start, beside = map(statistics.median, zip(*taken, strict=True))
    ratio = (whole - start) / beside
    print(f"median   verify {whole:.2f} s, start {start:.2f} s, openssl {beside:.2f} s: {ratio:.2f}, limit {LIMIT}")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
