"""Methods of whole matrices on a CUDA device beside the same on this machine, which is the oracle.

    python tests/benchmarks/device.py [--sizes 1024x2816,4096x14336] [--methods iso_c,tsv] [--devices cpu,cuda]

Some layers of a Llama in bf16, and three fine-tunes. Each merge is a process of its own, `brickctl merge` from start to
end, which writes fp32. What is printed: wall time, how many times as fast as here, the most memory that torch took of
the device beside what was planned, and the largest |here - there| over the largest weight of a tensor.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

METHODS = {"iso_c": [], "tsv": [], "knots": ["density=0.5"], "wudi": ["steps=100"]}
MODELS = ("base", "one", "two", "three")


def shapes(hidden: int, inner: int, layers: int) -> dict[str, tuple[int, int]]:
    """Every weight of the layers, and of the embeddings, which are small here."""
    square, tall, wide = (hidden, hidden), (inner, hidden), (hidden, inner)
    each = {
        "self_attn.q_proj": square,
        "self_attn.k_proj": (hidden // 4, hidden),
        "self_attn.v_proj": (hidden // 4, hidden),
        "self_attn.o_proj": square,
        "mlp.gate_proj": tall,
        "mlp.up_proj": tall,
        "mlp.down_proj": wide,
    }
    names = {f"model.layers.{at}.{name}.weight": shape for at in range(layers) for name, shape in each.items()}
    return {**names, "model.embed_tokens.weight": (64, hidden)}


def make(folder: Path, hidden: int, inner: int, layers: int) -> None:
    """Write the models, unless they are there."""
    import torch
    from safetensors.torch import save_file

    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "vocab_size": 64}
    config |= {"num_hidden_layers": layers, "intermediate_size": inner, "torch_dtype": "bfloat16"}
    base = {name: torch.randn(shape) * 0.02 for name, shape in shapes(hidden, inner, layers).items()}
    for number, model in enumerate(MODELS):
        place = folder / model
        if not place.exists():
            place.mkdir(parents=True)
            (place / "config.json").write_text(json.dumps(config))
            tensors = {
                name: (tensor + torch.randn_like(tensor) * 0.002 * (number > 0)).bfloat16()
                for name, tensor in base.items()
            }
            save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})


def one_merge(method: str, device: str, models: Path, output: Path) -> None:
    """Merge as the command line does, and say what it took of the device."""
    from brickctl.cli import main

    arguments = ["merge", *(str(models / name) for name in MODELS), "-m", method, "-o", str(output)]
    arguments += ["--dtype", "float32", "--device", device]
    for parameter in METHODS[method]:
        arguments += ["--set", parameter]
    sys.argv = ["brickctl", *arguments]
    if main():
        raise SystemExit(1)
    import torch

    used = torch.cuda.max_memory_allocated() if device != "cpu" else 0
    print(json.dumps({"used": used}), file=sys.stderr)


def planned(method: str, device: str, models: Path) -> int:
    """Bytes of the device that a dry run tells of."""
    command = [sys.executable, "-m", "brickctl", "merge", *(str(models / name) for name in MODELS), "-m", method]
    command += ["--dtype", "float32", "-o", str(models / "none"), "--device", device, "--dry-run", "--json"]
    command += [argument for one in METHODS[method] for argument in ("--set", one)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return int(json.loads(done.stdout)["targets"][0]["device"]["bytes"])


def measured(method: str, device: str, models: Path, output: Path) -> tuple[float, int]:
    """Seconds from start to end, and bytes of the device."""
    command = [sys.executable, __file__, "--one", method, device, str(models), str(output)]
    environment = {**os.environ, "BRICKCTL_CACHE": f"{output}-caches"}  # in which no other run has made these weights
    begin = time.perf_counter()
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    wall = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return wall, json.loads(done.stderr.splitlines()[-1])["used"]


def compare(method: str, devices: list[str], models: Path, scratch: Path) -> None:
    """Run one method everywhere, and print a line for each device."""
    from brickctl.tensors.closeness import distance

    first: float | None = None
    for device in devices:
        output = scratch / f"{method}-{device.replace(':', '-')}"
        wall, used = measured(method, device, models, output)
        line = f"{method:8} {device:8} {wall:8.1f} s"
        if device != "cpu":
            line += f"  {used / 2**20:8.0f} MiB of {planned(method, device, models) / 2**20:.0f} planned"
        if first is None:
            first = wall
        else:
            files = [
                scratch / f"{method}-{one.replace(':', '-')}" / "model.safetensors" for one in (devices[0], device)
            ]
            line += f"  {first / wall:6.1f} times as fast, apart by {distance(*files)[0]:.1e}"
        print(line, flush=True)


def main() -> None:
    """Read the arguments, make the models, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1024x2816", help="of the hidden state and of the MLP")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--devices", default="cpu,cuda")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.one:
        one_merge(*wanted.one[:2], *map(Path, wanted.one[2:]))
        return
    with tempfile.TemporaryDirectory(prefix="brickctl-device-") as own:
        os.environ["BRICKCTL_CACHE"] = str(Path(own) / "caches")
        for size in wanted.sizes.split(","):
            hidden, inner = map(int, size.split("x"))
            scratch = Path(own) / size
            with ProcessPoolExecutor(1) as maker:
                maker.submit(make, scratch / "models", hidden, inner, wanted.layers).result()
            print(f"{wanted.layers} layers of {hidden} and {inner}")
            for method in wanted.methods.split(","):
                compare(method, wanted.devices.split(","), scratch / "models", scratch)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (sys.path[0], os.environ.get("PYTHONPATH"))))
    main()
