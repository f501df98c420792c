"""What SmolLM2 loses when only some groups of each FFN are on, for every way to split and every router.

    python tests/benchmarks/split.py --base FOLDER --scratch FOLDER [--tokens 2048] [--json FILE]

`--base` is what `make_base.py` makes. Prose is a handbook of Debian, which apt brings, and code functions of Python's
library, both in windows of 256 tokens. Neurons are grouped and routers trained by `--tokens` of each, and losses are
measured on a quarter as many tokens of other paragraphs and functions. Held against: with an oracle co-activation loses
less than k-means, which loses less than random, at each share; and at a half `shared` loses least of all.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.analysis.ffn import find_ffns
from brickctl.analysis.load import load
from brickctl.analysis.perplexity import mean_losses, predicted, rows_of
from brickctl.analysis.splitting.curves import Curves, Point, Trial, measure
from brickctl.analysis.splitting.dividing import Cut
from tests.support.texts import halves
from tests.support.texts import texts as texts_of_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CUTS = (
    Cut(method="random", groups=16),
    Cut(method="contiguous", groups=16),
    Cut(method="kmeans", groups=16),
    Cut(method="coactivation", groups=16),
    Cut(method="coactivation", groups=64),
    Cut(method="shared", groups=64, shared=0.125),
)
ROUTED = CUTS[-1:] + CUTS[3:4]
WINDOW = 256
KINDS = ("prose", "code")


def line(point: Point) -> str:
    """What was measured at one point: perplexities of every text."""
    name = f"{point.cut.method} {point.cut.groups}"
    return f"{name:>16} {point.router:>10} {point.share:6.1%} on: {perplexities(point.losses)}"


def perplexities(losses: Sequence[float]) -> str:
    """Side by side."""
    return "  ".join(f"{math.exp(loss):8.1f}" for loss in losses)


def shortcomings(curves: Curves) -> list[str]:
    """What should hold with an oracle and does not."""
    oracle = {(one.cut.method, one.cut.groups, at): one for one, at in _steps(curves.points)}
    found = []
    for label in range(len(curves.labels)):
        for at in range(3):
            random, kmeans, ours = (oracle[name, 16, at].losses[label] for name in ("random", "kmeans", "coactivation"))
            if not ours < kmeans < random:
                found.append(f"{curves.labels[label]}, share {at}: co-activation < k-means < random does not hold")
        best = min(one.losses[label] for (name, _, at), one in oracle.items() if name != "shared" and at == 1)
        if oracle["shared", 64, 1].losses[label] >= best:
            found.append(f"{curves.labels[label]}: shared is not best at a half")
    return found


def _steps(points: Sequence[Point]) -> list[tuple[Point, int]]:
    """The points of the oracle, each with the place of its share."""
    return [(one, at % 3) for at, one in enumerate(point for point in points if point.router == "oracle")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    loaded = load(asked.base, dtype="float32", threads=1)

    def rows(found: Mapping[str, Sequence[str]], kind: str, tokens: int) -> Sequence[Sequence[int]]:
        together = "\n\n".join(found[kind])
        return rows_of(loaded.model, loaded.tokenizer, [together], window=WINDOW)[: tokens // WINDOW]

    learnt, measured = halves(texts_of_kinds(asked.scratch))
    heard = [row for kind in KINDS for row in rows(learnt, kind, asked.tokens)]
    texts = {kind: rows(measured, kind, asked.tokens // 4) for kind in KINDS}
    ffns, started = find_ffns(loaded.model), time.monotonic()
    dense = mean_losses(loaded.model, tuple(texts.values()))
    print(f"dense: {perplexities(dense)}  ({', '.join(texts)})", flush=True)
    routed = Trial(heard=heard, texts=texts, routers=("linear", "similarity", "mlp"), shares=(0.5,))
    points = []
    for cuts, trial in ((CUTS, Trial(heard=heard, texts=texts, routers=("oracle",))), (ROUTED, routed)):
        for point in measure(loaded.model, ffns, cuts, trial):
            points.append(point)
            print(f"{time.monotonic() - started:6.0f} s {line(point)}", flush=True)
    tokens = tuple(map(predicted, texts.values()))
    curves = Curves(labels=tuple(texts), tokens=tokens, dense=dense, points=tuple(points))
    print("\n".join(shortcomings(curves)) or "the order holds everywhere")
    if asked.json:
        asked.json.write_text(json.dumps(curves.document(), indent=1))


if __name__ == "__main__":
    main()
