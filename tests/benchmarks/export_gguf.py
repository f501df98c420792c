"""A real merged model as GGUF: does llama.cpp say the token that transformers says?

    python tests/benchmarks/export_gguf.py BASE ADAPTERS [--engine PYTHON] [--converter convert_hf_to_gguf.py]

BASE is the folder that `make_base.py` makes, ADAPTERS that in which `date` and `reverse` lie (`shared/real`). The two
are merged (sum x 0.7), exported in each type, and asked twenty prompts: ten held-out ones of each skill. A stack of
the two is asked with each adapter beside the model. llama.cpp is the one in `xllamacpp`; with `--engine` a Python that
has `llama-cpp-python`. With `--converter` the tensors and keys of llama.cpp's own converter are compared with ours.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gguf import GGUFReader
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.llama_cpp import LlamaCpp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
SKILLS = ("date", "reverse")
EACH = 10
TYPES = ("bf16", "f16", "f32", "q8_0")
MANIFEST = """\
[project]
name = "real"

[base]
source = "path:{base}"

[bricks]
date = {{ source = "path:{adapters}/date" }}
reverse = {{ source = "path:{adapters}/reverse" }}

[targets.merged]
apply = [{{ op = "merge", method = "task_arithmetic", bricks = {{ date = 0.7, reverse = 0.7 }} }}]

[targets.stacked]
apply = [{{ op = "stack", bricks = ["date", "reverse"] }}]
"""
_ENGINE = """
import json, sys
from llama_cpp import Llama

wanted = json.load(sys.stdin)
model = Llama(wanted["model"], n_ctx=256, n_threads=1, logits_all=False, verbose=False, lora_path=wanted["adapter"])
said = []
for prompt in wanted["prompts"]:
    model.reset()
    model.eval(prompt)
    said.append(model.sample(temp=0.0))
print(json.dumps(said))
"""


def run(project: Path, *arguments: str) -> None:
    """Run brickctl, and tell seconds of one core and the peak of memory."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "brickctl", *arguments, "--threads", "1", "-q", "--json"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss / 1024
    print(f"{' '.join(arguments)}: {time.monotonic() - begin:.1f} s, at most {peak:.0f} MiB so far", flush=True)


def prompts(adapters: Path) -> list[str]:
    """Ten held-out prompts of each skill."""
    lines = [line for skill in SKILLS for line in (adapters / skill / "heldout.jsonl").read_text().splitlines()[:EACH]]
    return [json.loads(line)["prompt"] for line in lines]


def next_tokens(model: Any, encoded: Sequence[Sequence[int]]) -> list[int]:
    """What transformers says, in fp32."""
    with torch.no_grad():
        return [int(model(torch.tensor([ids])).logits[0, -1].argmax()) for ids in encoded]


def asked(file: Path, encoded: Sequence[Sequence[int]], engine: str | None, adapter: Path | None = None) -> list[int]:
    """What llama.cpp says."""
    if engine is None:
        model = LlamaCpp(file, adapter=adapter)
        return [next(iter(model.most_likely(ids))) for ids in encoded]
    wanted = {"model": str(file), "adapter": None if adapter is None else str(adapter), "prompts": encoded}
    command = [engine, "-c", _ENGINE]
    done = subprocess.run(command, input=json.dumps(wanted), capture_output=True, text=True, check=True)
    found: list[int] = json.loads(done.stdout.splitlines()[-1])
    return found


def agreement(ours: Sequence[int], theirs: Sequence[int]) -> str:
    """How many are the same."""
    return f"{sum(one == other for one, other in zip(ours, theirs, strict=True))} of {len(ours)}"


def compare(ours: Path, theirs: Path) -> None:
    """Keys and tensors of two files, one by one."""
    readers = GGUFReader(ours), GGUFReader(theirs)
    keys: list[Mapping[str, Any]] = [{key: field.contents() for key, field in one.fields.items()} for one in readers]
    tensors = [{tensor.name: tensor for tensor in one.tensors} for one in readers]
    other = sorted(key for key in keys[0].keys() & keys[1].keys() if keys[0][key] != keys[1][key])
    moved = [name for name, tensor in tensors[0].items() if not np.array_equal(tensor.data, tensors[1][name].data)]
    print(f"the converter: {len(tensors[0])} and {len(tensors[1])} tensors, {len(moved)} of them other; keys only")
    print(f"  ours {sorted(keys[0].keys() - keys[1].keys())}, only theirs {sorted(keys[1].keys() - keys[0].keys())}")
    print(f"  with another value: {other}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapters", type=Path)
    parser.add_argument("--engine")
    parser.add_argument("--converter", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch)
        text = MANIFEST.format(base=chosen.base.absolute(), adapters=chosen.adapters.absolute())
        (project / "brick.toml").write_text(text)
        tokenizer = AutoTokenizer.from_pretrained(chosen.base)
        encoded = [tokenizer(prompt).input_ids for prompt in prompts(chosen.adapters)]
        _merged(project, encoded, chosen)
        _stacked(project, encoded, chosen)


def _merged(project: Path, encoded: Sequence[Sequence[int]], chosen: argparse.Namespace) -> None:
    run(project, "build", "merged")  # a process that is begun after a model is loaded counts its memory as its own
    for kind in TYPES:
        run(project, "export", "merged", "--format", "gguf", "--quantize", kind, "-o", kind)
    ours = next_tokens(AutoModelForCausalLM.from_pretrained(project / "dist/merged", dtype=torch.float32), encoded)
    for kind in TYPES:
        theirs = asked(project / kind / "merged.gguf", encoded, chosen.engine)
        print(f"merged, {kind}: the same next token for {agreement(ours, theirs)}", flush=True)
    if chosen.converter is not None:
        run(project, "export", "merged", "--format", "gguf", "--converter", str(chosen.converter), "-o", "theirs")
        compare(project / "bf16" / "merged.gguf", project / "theirs" / "merged.gguf")


def _stacked(project: Path, encoded: Sequence[Sequence[int]], chosen: argparse.Namespace) -> None:
    """Each adapter beside the model; `date` is a DoRA, and becomes the nearest LoRA of rank 32."""
    run(project, "export", "stacked", "--format", "gguf", "--rank", "32", "-o", "stacked")
    for skill in SKILLS:
        base = AutoModelForCausalLM.from_pretrained(project / "dist/stacked", dtype=torch.float32)
        model = PeftModel.from_pretrained(base, project / "dist/stacked/adapters" / skill)
        ours = next_tokens(model, encoded)
        theirs = asked(project / "stacked/stacked.gguf", encoded, chosen.engine, project / f"stacked/{skill}.gguf")
        print(f"stacked, {skill}: the same next token for {agreement(ours, theirs)}", flush=True)


if __name__ == "__main__":
    main()
