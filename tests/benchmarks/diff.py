"""Whether what `brickctl diff` says of two bricks before a merge ranks pairs as the merged models do.

    python tests/benchmarks/diff.py [BASE ADAPTER ADAPTER...] [--count 24] [--weights 1 0.7 0.5] [--json FILE]

Every pair is merged as dense deltas, at each weight for both, and asked `count` held-out examples of both skills
(greedy, exact match). What a skill keeps is its share of right answers beside that of its brick alone; a pair keeps
what its worse skill keeps, at the best of the weights and on average over them. Beside the figures of `diff` stand two
that need examples: `disturbance`, how loud the other brick is on the very inputs of each layer on which a brick works,
and `frailty`, what each of the two loses alone at the smallest weight. Printed: a row for each pair, and the rank
correlation (Spearman) of each figure with what pairs keep; one that tells of trouble is to be negative. Without
arguments the bricks are those of the starter project.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from brickctl.analysis.exact_match import exact_match
from brickctl.analysis.examples import Example, read_examples
from brickctl.analysis.load import Loaded, load
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.sources.open import builtin_registry
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.whole_tensors import WholeTensors
from brickctl.workflows.comparing.interference import Pair, pairs_of
from tests.support.building import gather, manifest
from tests.support.projects import TEMPLATE, Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Names = tuple[str, str]
STARTER = ("upper", "next", "reverse", "odd", "sort")


@dataclass(frozen=True, kw_only=True)
class Material:
    """A model in memory, the deltas of bricks, and what each is asked."""

    loaded: Loaded
    base: Mapping[str, torch.Tensor]
    deltas: Mapping[str, Mapping[str, torch.Tensor]]
    examples: Mapping[str, Sequence[Example]]
    pairs: tuple[Pair, ...]

    def merge(self, weights: Mapping[str, float]) -> None:
        """Make the model the base with these bricks, rounded as a merge rounds it."""
        parameters = dict(self.loaded.model.named_parameters())
        with torch.no_grad():
            for name, base in self.base.items():
                total = base.clone()
                for brick, weight in weights.items():
                    if name in self.deltas[brick]:
                        total.add_(self.deltas[brick][name], alpha=weight)
                parameters[name].copy_(total.bfloat16())

    def skill(self, brick: str) -> float:
        """The share of the examples of a brick that the model answers."""
        found = exact_match(self.loaded.model, self.loaded.tokenizer, self.examples[brick], batch_size=24)
        return found.share


def gathered(base: Path, bricks: Mapping[str, Path], data: Mapping[str, Path], count: int) -> Material:
    """Read everything that is needed into memory."""
    with tempfile.TemporaryDirectory() as scratch:
        ingredients, paths = gather(parse_manifest(manifest(base, bricks, "")), Path(scratch))
        with Blobs(paths) as blobs:
            tensors = WholeTensors(blobs)
            pairs = pairs_of(ingredients, [Alias(name) for name in bricks], tensors, Listener())
            deltas = {
                brick: {
                    name: tensors.tensor(change.delta).float()
                    for name, change in ingredients.changes(Alias(brick)).items()
                    if change.delta is not None and name not in ingredients.base.ties
                }
                for brick in bricks
            }
    loaded = load(base, dtype="float32", threads=1)
    names = dict.fromkeys(name for own in deltas.values() for name in own)
    parameters = dict(loaded.model.named_parameters())
    return Material(
        loaded=loaded,
        base={name: parameters[name].detach().clone() for name in names},
        deltas=deltas,
        examples={name: read_examples(path)[:count] for name, path in data.items()},
        pairs=pairs,
    )


def disturbed(material: Material, brick: str) -> dict[str, float]:
    """How loud each other brick is on the inputs that a brick works on, beside it; each layer beside its own output."""
    material.merge({brick: 1.0})
    sums: dict[str, float] = defaultdict(float)

    def hook(name: str) -> Callable[[Any, Any, Any], None]:
        def add(_: Any, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
            rows = given[0].reshape(-1, given[0].shape[-1])
            for other, own in material.deltas.items():
                if name in own:
                    sums[other] += float((rows @ own[name].T).square().sum() / out.square().sum())

        return add

    linear = ((f"{path}.weight", module) for path, module in material.loaded.model.named_modules())
    hooks = [
        module.register_forward_hook(hook(name))
        for name, module in linear
        if name in material.base and isinstance(module, torch.nn.Linear)
    ]
    with torch.inference_mode():
        for example in material.examples[brick]:
            text = example.prompt + example.completion
            material.loaded.model(material.loaded.tokenizer(text, return_tensors="pt").input_ids)
    for one in hooks:
        one.remove()
    return {other: (sums[other] / sums[brick]) ** 0.5 for other in material.deltas if other != brick}


def kept(material: Material, weights: Sequence[float]) -> tuple[dict[Names, list[float]], dict[str, float]]:
    """What the worse skill of each pair keeps, by weight; and what each brick loses alone at the smallest weight."""
    own, frailty = {}, {}
    for brick in material.deltas:
        material.merge({brick: 1.0})
        own[brick] = material.skill(brick)
        material.merge({brick: min(weights)})
        frailty[brick] = 1.0 - material.skill(brick) / own[brick]
        print(f"{brick:9} alone {own[brick]:.0%}, loses {frailty[brick]:.0%} at {min(weights)}", flush=True)
    found: dict[Names, list[float]] = {}
    for pair in combinations(material.deltas, 2):
        found[pair] = []
        for weight in weights:
            material.merge(dict.fromkeys(pair, weight))
            found[pair].append(min(material.skill(brick) / own[brick] for brick in pair))
        print(f"{' + '.join(pair):18} keeps {', '.join(f'{share:.0%}' for share in found[pair])}", flush=True)
    return found, frailty


def figures(material: Material, frailty: Mapping[str, float]) -> dict[str, dict[Names, float]]:
    """Every figure, by pair; those with two directions are that of the worse one."""
    disturbance = {brick: disturbed(material, brick) for brick in material.deltas}
    found: dict[str, dict[Names, float]] = defaultdict(dict)
    for pair in material.pairs:
        names, total = (str(pair.one), str(pair.other)), pair.total
        ratio = total.norm_ratio or 1.0
        found["norm ratio"][names] = max(ratio, 1.0 / ratio)
        found["louder norm"][names] = max(total.norms)
        found["joint norm"][names] = total.joint_norm
        found["cosine"][names] = total.cosine or 0.0
        found["input overlap"][names] = total.input_overlap or 0.0
        found["output overlap"][names] = total.output_overlap or 0.0
        found["loudness"][names] = max(total.loudness or (0.0,))
        found["sign conflicts"][names] = total.conflicts or 0.0
        found["disturbance"][names] = max(disturbance[names[0]][names[1]], disturbance[names[1]][names[0]])
        found["frailty"][names] = max(frailty[name] for name in names)
    return dict(found)


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The correlation of ranks; equal values share theirs."""
    first, second = (torch.tensor([_rank(value, values) for value in values]) for values in (one, other))
    first, second = first - first.mean(), second - second.mean()
    lengths = float(first.norm() * second.norm())
    return float((first * second).sum()) / lengths if lengths else 0.0


def _rank(value: float, values: Sequence[float]) -> float:
    return sum(other < value for other in values) + 0.5 * sum(other == value for other in values)


def report(material: Material, weights: Sequence[float]) -> dict[str, Any]:
    """Measure, and print."""
    shares, frailty = kept(material, weights)
    table = figures(material, frailty)
    best = {pair: max(found) for pair, found in shares.items()}
    mean = {pair: sum(found) / len(found) for pair, found in shares.items()}
    for pair in sorted(best, key=lambda pair: -best[pair]):
        told = ", ".join(f"{name} {values[pair]:.3g}" for name, values in table.items())
        print(f"{' + '.join(pair):18} best {best[pair]:.0%}, mean {mean[pair]:.0%}: {told}")
    ranks = {
        name: [spearman([values[pair] for pair in best], list(goal.values())) for goal in (best, mean)]
        for name, values in table.items()
    }
    for name, (at_best, on_average) in ranks.items():
        print(f"{name:14}  rank correlation with the best {at_best:+.2f}, with the mean {on_average:+.2f}")
    pairs = [
        {"bricks": list(pair), "best": best[pair], "mean": mean[pair], **{name: table[name][pair] for name in table}}
        for pair in best
    ]
    return {"weights": list(weights), "pairs": pairs, "spearman": ranks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", metavar="BASE ADAPTER")
    parser.add_argument("--count", type=int, default=24, help="examples of a skill")
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0, 0.7, 0.5])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.models:
        base, *adapters = (path.absolute() for path in arguments.models)
        bricks = {path.name: path for path in adapters}
        data = {name: path / "heldout.jsonl" for name, path in bricks.items()}
    else:
        folder = builtin_registry() / "files/starter"
        base, bricks = folder / "base/1.0.0", {name: folder / name / "1.0.0" for name in STARTER}
        data = {name: TEMPLATE / "checks" / f"{name}.jsonl" for name in STARTER}
    found = report(gathered(base, bricks, data, arguments.count), arguments.weights)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
