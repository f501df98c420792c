"""A merge of models of 70 B parameters: planned whole, and its first shards built, with the memory of each.

    python tests/benchmarks/large.py [--methods linear,ties] [--shards 1] [--scratch FOLDER]

A Llama of 80 layers in bf16, 138 GB, and three fine-tunes. Only what the first shards of the output need holds numbers
(12 GB for one shard); the rest are holes in sparse files, whose digests are made up in the ledger, since nobody reads
them. Each method runs in a process of its own: it reads headers, plans every tensor of the model, and builds the first
shards of 2 GB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from processes import Memory

LAYERS, HIDDEN, INNER, KEYS, VOCABULARY = 80, 8192, 28_672, 1024, 32_000
MODELS = ("base", "one", "two", "three")
SHARD = 2_000_000_000
LARGEST = 2 * VOCABULARY * HIDDEN
"""Bytes of the largest tensor, by which a shard may be cut elsewhere than its neighbour."""

SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
    "input_layernorm": (HIDDEN,),
    "post_attention_layernorm": (HIDDEN,),
}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCABULARY,
    "torch_dtype": "bfloat16",
}


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor, in the order of its name, in which shards are written."""
    layers = {f"model.layers.{at}.{name}.weight": shape for at in range(LAYERS) for name, shape in SHAPES.items()}
    ends = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN)}
    return dict(sorted({**layers, **ends, "model.norm.weight": (HIDDEN,)}.items()))


def write(folder: Path, number: int, shards: int) -> None:
    """One model in a single file: numbers in what stands first, holes behind."""
    import torch

    from brickctl.core.dtypes import DType
    from brickctl.core.regions import Spec
    from brickctl.tensors.header import write_header

    specs = {name: Spec(DType.BF16, shape) for name, shape in shapes().items()}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    header = write_header(specs)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + sum(spec.bytes for spec in specs.values()))
        generator = torch.Generator().manual_seed(number)
        for spec in specs.values():
            if file.tell() > shards * SHARD + LARGEST:
                break
            for _ in range(max(1, spec.rows // 1024)):
                part = torch.randn(min(spec.rows, 1024), spec.columns, generator=generator).mul_(0.02)
                file.write(part.bfloat16().view(torch.uint8).numpy().tobytes())


def make(scratch: Path, shards: int) -> None:
    """The models, and digests for the ledger to know."""
    from brickctl.core.digests import sha256_bytes
    from brickctl.sources.ledger import Ledger

    for number, name in enumerate(MODELS):
        folder = scratch / "models" / name
        if not folder.exists():
            partial = scratch / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            write(partial, number, shards)
            folder.parent.mkdir(exist_ok=True)
            partial.rename(folder)
        Ledger(scratch / "ledger").record(folder / "model.safetensors", sha256_bytes(name.encode()))


def manifest(method: str, models: Path) -> str:
    """A merge of all, or of fewer where a method takes no more."""
    from brickctl.merging.method import methods

    most = methods()[method].most
    names = MODELS[1 : min(most, 3) + 1]
    needed = {"slerp": ", t = 0.4", "nearswap": ", t = 0.001"}.get(method, "")
    density = ", density = 0.5" if method in {"ties", "dare_ties", "dare_linear", "della", "breadcrumbs"} else ""
    entries = ", ".join(f'{{ brick = "{name}"{density} }}' for name in names)
    bricks = "\n".join(f'{name} = {{ source = "path:{models / name}", kind = "expert" }}' for name in names)
    return (
        f'[project]\nname = "large"\n[base]\nsource = "path:{models / "base"}"\n[bricks]\n{bricks}\n'
        '[targets.t]\nshard-size = "2GB"\n'
        f'apply = [{{ op = "merge", method = "{method}"{needed}, bricks = [{entries}] }}]\n'
    )


def run(method: str, scratch: Path, shards: int) -> None:
    """What the child does: plan, then build; prints what it took after each."""
    from brickctl.core.plan import Shard
    from brickctl.tensors.memory import peak_memory
    from tests.support.building import Runner, prepare

    text = manifest(method, scratch / "models")
    begin = time.perf_counter()
    prepared = prepare(text, scratch)
    tasks = [task for task in prepared.plan.tasks if isinstance(task, Shard)]
    peak = peak_memory(prepared.plan) >> 20
    planned = time.perf_counter() - begin
    print(f"planned {planned:.1f} {len(tasks)} {peak}", flush=True)
    begin = time.perf_counter()
    chosen = tuple(tasks[:shards])
    Runner().run(replace(prepared, plan=replace(prepared.plan, tasks=chosen)), scratch / "output")
    print(f"built {time.perf_counter() - begin:.1f} {sum(task.size for task in chosen) / 1e9:.2f}", flush=True)


def watched(method: str, scratch: Path, shards: int) -> None:
    """Run a method in a child and print a row."""
    for name in ("output", "output.journal"):
        shutil.rmtree(scratch / name, ignore_errors=True)
    command = [sys.executable, __file__, "--child", method, "--scratch", str(scratch), "--shards", str(shards)]
    peaks, lines = [0.0, 0.0], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        import threading

        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        reader.start()
        memory = Memory(process.pid)
        while process.poll() is None:
            memory.look()
            peaks[min(len(lines), 1)] = memory.most
            time.sleep(0.02)
        reader.join()
    if process.returncode != 0:
        sys.exit(f"{method} failed")
    (_, planning, count, budget), (_, building, size) = (line.split() for line in lines)
    print(
        f"{method:18}planned {count} shards in {planning} s, {peaks[0]:.0f} MiB, needs {budget} MiB of buffers; "
        f"built {size} GB in {building} s, {peaks[1]:.0f} MiB",
        flush=True,
    )


def main() -> None:
    """Make the models, then run every method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="passthrough,linear,slerp,task_arithmetic,dare_ties,ties")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="kept, so that the models are made once")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.child:
        run(wanted.child, wanted.scratch, wanted.shards)
        return
    with tempfile.TemporaryDirectory(prefix="brickctl-large-") as own:
        scratch = (wanted.scratch or Path(own)).resolve()
        make(scratch, wanted.shards)
        for method in wanted.methods.split(","):
            watched(method, scratch, wanted.shards)


if __name__ == "__main__":
    main()
