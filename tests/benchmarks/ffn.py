"""What FFN measurements find in SmolLM2-135M-Instruct, and how long they take.

    python tests/benchmarks/ffn.py MODEL_FOLDER [--dtype bfloat16] [--threads 2] [--json FILE]

Neurons are scored on half of the texts in `tests/support/domains.jsonl` and pruned while the model reads the other
half, so that what pruning costs is no memory of the very texts that chose the neurons.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from brickctl.analysis.ffn import find_ffns
from brickctl.analysis.load import load
from brickctl.analysis.partition import partition
from brickctl.analysis.perplexity import mean_losses, rows_of
from brickctl.analysis.perturbation import perturbation
from brickctl.analysis.sparsity import masked_losses, sparsity
from brickctl.analysis.specialisation import func_scores
from tests.support.domains import domains, halves
from tests.support.planted import instances_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from brickctl.analysis.load import Loaded

MASKED = (0.0, 0.5, 0.7, 0.8, 0.9)


def main() -> None:
    """Measure, print each section as it is done, and write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.01])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    loaded = load(options.model, dtype=options.dtype, threads=options.threads)
    document = _sections(loaded, options.shares)
    document["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak memory {document['peak_mib']} MiB")
    if options.json:
        options.json.write_text(json.dumps(document, indent=1))


def _sections(loaded: Loaded, shares: list[float]) -> dict[str, Any]:
    model, tokenizer = loaded.model, loaded.tokenizer
    ffns, (scored, read) = find_ffns(model), halves(domains())
    instances = instances_of(model, tokenizer, scored)
    groups = [rows_of(model, tokenizer, texts, window=256) for texts in read.values()]
    everything = [row for group in groups for row in group]
    print(f"{instances.tokens} tokens to score, {sum(map(len, everything))} to measure")
    found = _timed("scores", lambda: func_scores(ffns, instances))
    _error_of_bins(loaded)
    layers = _timed("sparsity", lambda: sparsity(ffns, everything))
    for at in (0, 1, 15, 28, 29):
        print("  layer", at, {key: value for key, value in layers[at].document().items() if key != "histogram"})
    print("  mean", [round(sum(one.energy[at] for one in layers) / len(layers), 3) for at in range(3)])
    losses = partial(mean_losses, model, groups)
    masked = _timed("masked", lambda: list(masked_losses(ffns, lambda: mean_losses(model, [everything])[0], MASKED)))
    for one in masked:
        print(f"  {one.by} {one.share}: {math.exp(one.loss):.1f}")
    overlap = partition(found)
    print("overlap", _rounded(overlap.overlap), "null", _rounded(overlap.null), overlap.random)
    pruned = _timed("perturbation", lambda: perturbation(found, losses, shares=shares, seeds=(0, 1, 2)))
    print(" ", found.labels, [round(math.exp(loss), 1) for loss in pruned.losses])
    for share in pruned.shares:
        print(" ", share.share, *_rounded(share.change), "controls", *_rounded(share.controls), sep="\n    ")
    return {"specialisation": found.document(), "partition": overlap.document(), "perturbation": pruned.document()}


def _error_of_bins(loaded: Loaded) -> None:
    """All instances, kept whole and in bins that were laid when half of them were there."""
    ffns, instances = find_ffns(loaded.model), instances_of(loaded.model, loaded.tokenizer, domains())
    room = 4 * sum(ffn.neurons for ffn in ffns) * len(instances.rows) // 2
    whole = func_scores(ffns, instances)
    binned = _timed(f"scores of {len(instances.rows)} in bins", lambda: func_scores(ffns, instances, limit=room))
    wrong = (binned.scores - whole.scores).abs()
    print(f"  off by {float(wrong.max()):.4f} at most, {float(wrong.mean()):.5f} in the mean; said {binned.error:.4f}")


def _timed(name: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    done = work()
    print(f"{name}: {time.perf_counter() - start:.1f} s")
    return done


def _rounded(rows: Any) -> list[list[float]]:
    return [[round(value, 2) for value in row] for row in rows]


if __name__ == "__main__":
    main()
