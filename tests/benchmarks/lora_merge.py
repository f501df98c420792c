"""Merge a LoRA into a model of about 1 B parameters: brickctl beside the plain PEFT script, as whole processes.

    python tests/benchmarks/lora_merge.py [--rounds 5] [--scratch FOLDER]

Both read bf16 weights from a file and leave a bf16 model and its sha256. brickctl also hashes what it reads in every
round (its ledger is emptied before), unless a row says `known inputs`. The floor reads the inputs, copies them, and
hashes the copy: no program that reads, writes and hashes the weights once can do less.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from processes import Round, measure, medians

LAYERS, HIDDEN, INNER, KEYS, VOCABULARY, RANK = 22, 2048, 5632, 256, 32_000, 16
LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}

PEFT = """
import hashlib, sys, torch
from pathlib import Path
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, output = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(output)
for path in sorted(Path(output).glob("*.safetensors")):
    with path.open("rb") as file:
        print(hashlib.file_digest(file, "sha256").hexdigest(), path.name)
"""

FLOOR = """
import hashlib, shutil, sys
from pathlib import Path
base, adapter, output = sys.argv[1:]
for folder in (base, adapter):
    for path in Path(folder).glob("*.safetensors"):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
shutil.copytree(base, output)
for path in Path(output).glob("*.safetensors"):
    with path.open("rb") as file:
        print(hashlib.file_digest(file, "sha256").hexdigest(), path.name)
"""


def make_base(folder: Path) -> None:
    """Write a Llama of random bf16 weights, one tensor after another."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in LINEAR.items()}
    tensors = {name: torch.randn(shape, dtype=torch.bfloat16) * 0.02 for name, shape in shapes.items()}
    norms = [f"model.layers.{layer}.{name}" for layer in range(LAYERS) for name in ("input", "post_attention")]
    tensors |= {f"{name}_layernorm.weight": torch.ones(HIDDEN, dtype=torch.bfloat16) for name in norms}
    tensors["model.norm.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=32,
        num_key_value_heads=4,
        dtype="bfloat16",
    )
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def make_adapter(folder: Path) -> None:
    """Write a LoRA of rank 16 on all linear layers, bf16, as PEFT would."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    tensors = {}
    for layer in range(LAYERS):
        for name, (outputs, inputs) in LINEAR.items():
            key = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(RANK, inputs, dtype=torch.bfloat16) * 0.02
            tensors[f"{key}.lora_B.weight"] = torch.randn(outputs, RANK, dtype=torch.bfloat16) * 0.02
    targets = [name.split(".")[1] for name in LINEAR]
    folder.mkdir(parents=True)
    LoraConfig(r=RANK, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM").save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def make(scratch: Path) -> tuple[Path, Path]:
    """The model and the adapter, made once for a scratch folder."""
    base, adapter = scratch / "base", scratch / "adapter"
    for folder, write in ((base, make_base), (adapter, make_adapter)):
        if not folder.exists():
            partial = scratch / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            write(partial)
            partial.rename(folder)
    return base, adapter


def contestants(base: Path, adapter: Path, output: Path) -> dict[str, list[str]]:
    """Command lines by name, in the order in which a round runs them."""
    brickctl = [sys.executable, "-m", "brickctl", "merge", str(base), str(adapter), "--output", str(output), "--quiet"]
    places = [str(base), str(adapter), str(output)]
    return {
        "plain PEFT": [sys.executable, "-c", PEFT, *places],
        "brickctl": brickctl,
        "brickctl, known inputs": brickctl,
        "floor": [sys.executable, "-c", FLOOR, *places],
    }


def run_rounds(count: int, scratch: Path) -> dict[str, list[Round]]:
    """Alternate the contestants, so that a busy moment of the machine meets all of them."""
    with ProcessPoolExecutor(1) as maker:  # a process of its own: children inherit the peak of their parent
        base, adapter = maker.submit(make, scratch).result()
    output, caches = scratch / "output", scratch / "caches"
    commands = contestants(base, adapter, output)
    environment = {**os.environ, "XDG_CACHE_HOME": str(caches), "PYTHONPATH": str(Path(__file__).parents[2])}
    rounds: dict[str, list[Round]] = {name: [] for name in commands}
    for number in range(1, count + 1):
        for name, command in commands.items():
            if name == "brickctl":
                shutil.rmtree(caches, ignore_errors=True)
            done = measure(command, environment)
            rounds[name].append(done)
            shutil.rmtree(output)
            figures = f"{done.wall:8.2f} s {done.cores:8.2f} core s {done.peak:8.0f} MiB"
            print(f"round {number}  {name:24}{figures}", flush=True)
    return rounds


def report(rounds: dict[str, list[Round]]) -> None:
    """Medians, and how they compare with plain PEFT."""
    plain = medians(rounds["plain PEFT"])
    print(f"\n{'median, ratio to PEFT':26}{'wall':>16}{'cores':>16}{'peak memory':>20}")
    for name, found in rounds.items():
        middle = medians(found)
        wall = f"{middle.wall:.1f} s {middle.wall / plain.wall:.3f}"
        cores = f"{middle.cores:.1f} s {middle.cores / plain.cores:.3f}"
        peak = f"{middle.peak:.0f} MiB {middle.peak / plain.peak:.3f}"
        print(f"{name:26}{wall:>16}{cores:>16}{peak:>20}")
    print("asked for: wall at most 0.250, memory at most 0.125")


def main() -> None:
    """Read the arguments, run, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="5 GB; kept, so that the model is made once")
    arguments = parser.parse_args()
    if arguments.scratch is not None:
        arguments.scratch.mkdir(parents=True, exist_ok=True)
        report(run_rounds(arguments.rounds, arguments.scratch.resolve()))
        return
    with tempfile.TemporaryDirectory(prefix="brickctl-benchmark-") as scratch:
        report(run_rounds(arguments.rounds, Path(scratch)))


if __name__ == "__main__":
    main()
