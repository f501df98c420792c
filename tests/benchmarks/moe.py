"""A real model as a stock mixture of experts: how far it is from the dense one, and from a hard choice of experts.

    python tests/benchmarks/moe.py --base FOLDER [--texts FOLDER] [--scratch FOLDER] [--tokens 128]

The base is any folder of a Llama, such as `make_real_base.py` makes. Everything runs through plain transformers, on one
text each of prose and code. All distances are those of logits, relative, in the 2-norm.

- *exact*: all experts active. The floor is the distance between the dense model and itself with the neurons of every
  FFN in another order, the largest of three orders.
- *chosen*: some experts active, against the dense model in which only their neurons count, with weight 1. The router is
  the mean of the gates of each group, rounded as the mixture stores it, and then the same 100 times as loud. Each FFN
  gets what it gets in the dense model: the median over tokens of how far its output is, and the share of tokens for
  which it is more than 1 %, because two experts score the same but for rounding and the other one is taken. (Run as a
  whole, the model soon takes other experts everywhere, as a change of 0.05 % in one layer is enough to change a choice
  in the next: so of the whole it is the loss that is compared, in nats for each token.) Beside it: what one scale for
  all layers would give.
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
STORED = torch.bfloat16


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

    def loss(self, model: Any) -> float:
        """Mean over the texts, which are as long as one another."""
        with torch.no_grad():
            return sum(float(model(one, labels=one).loss) for one in self._tokens) / len(self._tokens)


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
            _chosen(measured, brick, scratch / "out", active, inputs)


def _chosen(measured: Measured, brick: Path, out: Path, active: int, inputs: Mapping[str, Tensor]) -> None:
    hard = load(measured.base, measured.dtype)
    gate(hard, brick, active, STORED)
    split(measured.base, brick, out, active)
    wanted = measured.loss(hard)
    for power in (None, 7, 10, 14):
        model = load(out, measured.dtype)
        if power is not None:
            _scale_all(model, brick, power)
        how = "scaled by layer" if power is None else f"all layers 2^-{power}"
        lost = f"loss {measured.loss(model):.4f}, hard {wanted:.4f}"
        print(f"{measured.dtype}: {active} of {GROUPS}, {how}: {_by_ffn(model, hard, inputs)}; {lost}")


def _by_ffn(model: Any, hard: Any, inputs: Mapping[str, Tensor]) -> str:
    """How far the output of each FFN is for each token, if it gets what it gets in the dense model."""
    medians, others = [], []
    for number, heard in enumerate(inputs.values()):
        given = heard.to(model.dtype)[None]
        with torch.no_grad():
            found, wanted = (one.model.layers[number].mlp(given)[0].float() for one in (model, hard))
        far = (found - wanted).norm(dim=-1) / wanted.norm(dim=-1)
        medians.append(float(far.median()))
        others.append(float((far > 0.01).float().mean()))
    means = sum(medians) / len(medians), sum(others) / len(others)
    return f"{means[0]:.1e} (worst FFN {max(medians):.1e}), another choice {means[1]:.2%} ({max(others):.1%})"


def _scale_all(model: Any, brick: Path, power: int) -> None:
    """Give all layers one scale."""
    found = load_file(brick / "model.safetensors")
    for number, layer in enumerate(model.model.layers):
        router = found[f"model.layers.{number}.mlp.router.weight"].to(STORED) * 2.0**-power
        layer.mlp.gate.weight.data = router.to(model.dtype)


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
    parser.add_argument("--only", choices=("exact", "chosen"))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--tokens", type=int, default=128, help="of each text")
    arguments = parser.parse_args()
    if arguments.scratch is not None:
        arguments.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        scratch = Path(folder)
        found = texts(arguments.texts or scratch / "texts")
        tokenizer = AutoTokenizer.from_pretrained(arguments.base)
        both = (tokenizer("\n".join(found[kind][:8]), return_tensors="pt").input_ids for kind in ("prose", "code"))
        tokens = [one[:, : arguments.tokens] for one in both]
        inputs = heard_by_ffns(arguments.base, tokens)
        for dtype in arguments.dtypes:
            measured = Measured(arguments.base, dtype, tokens)
            if arguments.only != "chosen":
                exact(measured, scratch)
            if arguments.only != "exact":
                chosen(measured, scratch, inputs)


if __name__ == "__main__":
    main()
