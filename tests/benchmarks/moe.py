"""A real model as a stock mixture of experts: how far it is from the dense one, and from a hard choice of experts.

    python tests/benchmarks/moe.py --base FOLDER [--texts FOLDER] [--scratch FOLDER] [--tokens 128]

The base is any folder of a Llama, such as `make_real_base.py` makes. Everything runs through plain transformers, on one
text each of prose and code. All distances are those of logits, relative, in the 2-norm.

- *exact*: all experts active. The floor is the distance between the dense model and itself with the neurons of every
  FFN in another order, the largest of three orders.
- *chosen*: some experts active, against the dense model in which only their neurons count, with weight 1. The router is
  the mean of the gates of each group, whose logits are measured on the text, and then the same 100 times as loud.
  Beside it: what one scale for all layers would give.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.analysis.load import unmatched_keys
from tests.support.building import build, manifest, prepare
from tests.support.models import load
from tests.support.neurons import distance, gate, modules, partition, permute
from tests.support.texts import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

EXACT: dict[str, dict[str, Any]] = {
    "contiguous, 16": {"groups": 16, "method": "contiguous"},
    "random, 16": {"groups": 16},
    "random, 12": {"groups": 12},
    "random, 64, 192 shared": {"groups": 64, "shared": 192},
}
GROUPS = 16
CHOSEN = (4, 8)
LOUDNESS = (1.0, 100.0)


class Measured:
    """The logits of models over the same tokens."""

    def __init__(self, base: Path, dtype: str, tokens: Sequence[Tensor]) -> None:
        self.base, self.dtype, self._tokens = base, dtype, tokens

    def of(self, folder: Path, change: Callable[[Any], None] | None = None) -> Tensor:
        """The logits of a model, which may be changed before it runs."""
        model = load(folder, self.dtype)
        if change is not None:
            change(model)
        with torch.no_grad():
            return torch.cat([model(one).logits[0].float() for one in self._tokens])


def split(base: Path, brick: Path, out: Path, active: int) -> Path:
    """Build a mixture."""
    text = manifest(base, {"g": brick}, f'{{ op = "split", brick = "g", active = {active} }}')
    for note in prepare(text, out.parent).artifact.notes:
        print(f"  note: {note[:160]}")
    return build(text, out)


def exact(measured: Measured, scratch: Path) -> None:
    """All experts active."""
    dense = measured.of(measured.base)
    others = (measured.of(measured.base, lambda model, seed=seed: permute(model, seed)) for seed in range(3))
    floor = max(distance(other, dense) for other in others)
    print(f"{measured.dtype}: another order of neurons {floor:.2e}")
    for name, settings in EXACT.items():
        brick = partition(measured.base, scratch / "exact", **settings)
        out = split(measured.base, brick, scratch / "out", settings["groups"])
        print(*unmatched_keys(out), sep="\n", end="")
        found = distance(measured.of(out), dense)
        print(f"{measured.dtype}: {name:24} {found:.2e} = {found / floor:.2f} of it")


def chosen(measured: Measured, scratch: Path, inputs: Mapping[str, Tensor]) -> None:
    """Some experts active."""
    for factor in LOUDNESS:
        brick = routed(measured.base, scratch / f"routed-{factor}", inputs, factor)
        found = load_file(brick / "model.safetensors").items()
        spreads = [float(one[0]) for name, one in found if name.endswith("logits")]
        print(f"{measured.dtype}: spread {min(spreads):.3g} to {max(spreads):.3g}")
        for active in CHOSEN:
            _chosen(measured, brick, scratch / "out", active)


def _chosen(measured: Measured, brick: Path, out: Path, active: int) -> None:
    wanted = measured.of(measured.base, lambda model: gate(model, brick, active))
    split(measured.base, brick, out, active)
    said = {"scaled by layer": distance(measured.of(out), wanted)}
    for power in (10, 14):
        said[f"2^-{power}"] = distance(measured.of(out, _one_scale(brick, power)), wanted)
    print(f"{measured.dtype}: {active} of {GROUPS}: {', '.join(f'{how} {far:.2e}' for how, far in said.items())}")


def _one_scale(brick: Path, power: int) -> Callable[[Any], None]:
    found = load_file(brick / "model.safetensors")

    def change(model: Any) -> None:
        for number, layer in enumerate(model.model.layers):
            router = found[f"model.layers.{number}.mlp.router.weight"] * 2.0**-power
            layer.mlp.gate.weight.data = router.to(model.dtype)

    return change


def routed(base: Path, folder: Path, inputs: Mapping[str, Tensor], factor: float) -> Path:
    """A brick whose router is the mean of the gates of each group, times a factor, with what its logits measure."""
    brick = partition(base, folder, groups=GROUPS, method="contiguous", router="linear")
    found, weights = load_file(brick / "model.safetensors"), load_file(base / "model.safetensors")
    for path in modules(base):
        router = weights[f"{path}.gate_proj.weight"].float().reshape(GROUPS, -1, inputs[path].shape[-1]).mean(dim=1)
        router = (router - router.mean(dim=0)) * factor
        found[f"{path}.router.weight"] = router.contiguous()
        logits = inputs[path] @ router.T
        ordered = logits.sort(dim=-1, descending=True).values
        gaps = torch.cat([ordered[:, active - 1] - ordered[:, active] for active in CHOSEN])
        found[f"{path}.logits"] = torch.stack([logits.std(), gaps.quantile(0.01)]).double()
    save_file(found, brick / "model.safetensors", {"format": "pt"})
    return brick


def heard_by_ffns(base: Path, tokens: Sequence[Tensor]) -> Mapping[str, Tensor]:
    """What goes into every FFN, (tokens, hidden)."""
    model = load(base)
    heard: dict[str, list[Tensor]] = {path: [] for path in modules(base)}
    for path, parts in heard.items():
        ffn: Any = model.get_submodule(path)
        ffn.register_forward_pre_hook(lambda _, given, parts=parts: parts.append(given[0][0]))
    with torch.no_grad():
        for one in tokens:
            model(one)
    return {path: torch.cat(parts) for path, parts in heard.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="where handbooks are, or are fetched to")
    parser.add_argument("--scratch", type=Path, help="where models are built; a temporary folder unless given")
    parser.add_argument("--tokens", type=int, default=128, help="of each text")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        scratch = Path(folder)
        found = texts(arguments.texts or scratch / "texts")
        tokenizer = AutoTokenizer.from_pretrained(arguments.base)
        both = (tokenizer("\n".join(found[kind][:8]), return_tensors="pt").input_ids for kind in ("prose", "code"))
        tokens = [one[:, : arguments.tokens] for one in both]
        inputs = heard_by_ffns(arguments.base, tokens)
        for dtype in ("float32", "bfloat16"):
            exact(Measured(arguments.base, dtype, tokens), scratch)
            chosen(Measured(arguments.base, dtype, tokens), scratch, inputs)


if __name__ == "__main__":
    main()
