"""A real model with half of its FFN: how fast it generates beside the dense one, and what each kind of text loses.

    python tests/benchmarks/prune.py --base FOLDER [--texts FOLDER] [--scratch FOLDER] [--rounds 5]

The base is any folder of a Llama, such as `make_real_base.py` makes; texts are prose, French, code and arithmetic, half
of them to weigh groups by and the other half to measure on. The partition here is a simple one that weighs something:
each kind of text in turn takes the neurons that put out most for it, until there are 16 groups. Of every FFN the 8
groups stay that put out most for one kind of text, or for all of them.

Both models generate in one process, in turns, greedily and one text at a time, in the type of the base and in fp32.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.building import build, manifest
from tests.support.models import load
from tests.support.neurons import modules, partition
from tests.support.texts import halves, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

GROUPS, KEEP = 16, 8
NEW_TOKENS = 48


def heard(base: Path, given: Mapping[str, Sequence[Tensor]]) -> Mapping[str, Mapping[str, Tensor]]:
    """Mean output magnitude |a| times the norm of what comes out, (neurons,), by FFN and by kind of text."""
    model = load(base)
    sums: dict[str, dict[str, Tensor]] = {path: {} for path in modules(base)}
    for kind, every in given.items():
        hooks = [_listen(model.get_submodule(f"{path}.down_proj"), found, kind) for path, found in sums.items()]
        with torch.no_grad():
            for tokens in every:
                model(tokens)
        for hook in hooks:
            hook.remove()
    return sums


def _listen(down: Any, found: dict[str, Tensor], kind: str) -> Any:
    norms = down.weight.norm(dim=0)

    def add(_: Any, given: tuple[Tensor, ...]) -> None:
        found[kind] = found.get(kind, 0) + (given[0][0].abs() * norms).sum(dim=0)

    return down.register_forward_pre_hook(add)


def weighed(base: Path, folder: Path, given: Mapping[str, Sequence[Tensor]]) -> Path:
    """A partition by what neurons put out, with the shares of its groups for each kind of text."""
    brick = partition(base, folder, groups=GROUPS, labels=list(given))
    found = load_file(brick / "model.safetensors")
    for path, by_kind in heard(base, given).items():
        magnitudes = torch.stack([by_kind[kind] / by_kind[kind].sum() for kind in given])
        order = _in_turn(magnitudes)
        found[f"{path}.order"] = order.reshape(-1).to(torch.int32)
        found[f"{path}.mass"] = magnitudes[:, order].sum(dim=2).contiguous()
    save_file(found, brick / "model.safetensors", {"format": "pt"})
    return brick


def _in_turn(magnitudes: Tensor) -> Tensor:
    """Groups, (groups, neurons each): each kind in turn takes the neurons that put out most for it of those left."""
    left, groups = magnitudes.clone(), []
    for group in range(GROUPS):
        taken = left[group % len(left)].topk(left.shape[1] // GROUPS).indices
        left[:, taken] = -1
        groups.append(taken.sort().values)
    found = torch.stack(groups)
    return found[found[:, 0].argsort()]


def loss(model: Any, every: Sequence[Tensor]) -> float:
    """Mean loss, nats for each token."""
    with torch.no_grad():
        losses = [(float(model(tokens, labels=tokens).loss), tokens.shape[1] - 1) for tokens in every]
    return sum(one * count for one, count in losses) / sum(count for _, count in losses)


def lost(base: Path, brick: Path, scratch: Path, measured: Mapping[str, Sequence[Tensor]]) -> Iterator[Path]:
    """Print what each kind of text loses, for every choice of groups; the folders of the pruned models."""
    dense = load(base)
    before = {kind: loss(dense, every) for kind, every in measured.items()}
    print(f"{'dense':16}", *(f"{kind} {one:.2f}" for kind, one in before.items()), sep="  ")
    choices = {**{kind: f'labels = ["{kind}"]' for kind in measured}, "all": 'by = "mass"'}
    for name, which in choices.items():
        apply = f'{{ op = "prune", brick = "g", keep = {KEEP}, {which} }}'
        folder = build(manifest(base, {"g": brick}, apply), scratch / name)
        model = load(folder)
        after = {kind: loss(model, every) for kind, every in measured.items()}
        costs = (f"{kind} {after[kind]:.2f} ({after[kind] - before[kind]:+.2f})" for kind in measured)
        print(f"{'for ' + name:16}", *costs, sep="  ")
        yield folder


def generation(base: Path, pruned: Path, prompt: Tensor, dtype: str, rounds: int) -> None:
    """Print the speed of both models, in turns; by the time of cores too, which is steadier on a busy machine."""
    models = {"dense": load(base, dtype), "pruned": load(pruned, dtype)}
    for model in models.values():
        _generate(model, prompt)
    turns = [{name: _generate(model, prompt) for name, model in models.items()} for _ in range(rounds)]
    for at, clock in enumerate(("wall", "cores")):
        ratios = [turn["dense"][at] / turn["pruned"][at] for turn in turns]
        medians = {name: NEW_TOKENS / statistics.median(turn[name][at] for turn in turns) for name in models}
        speeds = ", ".join(f"{name} {speed:.1f}" for name, speed in medians.items())
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{dtype}, {clock}: tokens/s {speeds}; ratio {statistics.median(ratios):.2f} (rounds {each})")


def _generate(model: Any, prompt: Tensor) -> tuple[float, float]:
    """Seconds of the clock and of all cores."""
    begin = time.perf_counter(), time.process_time()
    model.generate(prompt, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False)
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="where handbooks are, or are fetched to")
    parser.add_argument("--scratch", type=Path, help="where models are built; a temporary folder unless given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=12, help="texts of each kind, for either half")
    arguments = parser.parse_args()
    if arguments.scratch is not None:
        arguments.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        scratch = Path(folder)
        tokenizer = AutoTokenizer.from_pretrained(arguments.base)
        calibration, measured = (
            {kind: [tokenizer(text, return_tensors="pt").input_ids for text in every[: arguments.count]]
             for kind, every in half.items()}
            for half in halves(texts(arguments.texts or scratch / "texts"))
        )  # fmt: skip
        brick = weighed(arguments.base, scratch / "g", calibration)
        *_, last = lost(arguments.base, brick, scratch, measured)
        for dtype in ("bfloat16", "float32"):
            generation(arguments.base, last, measured["prose"][0][:, :16], dtype, arguments.rounds)


if __name__ == "__main__":
    main()
