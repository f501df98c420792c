"""An analysis as `brickctl analyze` writes it, of a model that nobody has: plausible numbers, always the same."""

from __future__ import annotations

import math
from random import Random
from typing import Any

LABELS = ("arithmetic", "code", "french", "prose", "translation")
BRICKS = ("reverse", "facts", "date", "json")
_BINS = 25
_SHARE = 0.05


def analysis(layers: int = 30, labels: tuple[str, ...] = LABELS, experts: int | None = None) -> dict[str, Any]:
    """A whole document, every section there."""
    chance = Random(7)  # noqa: S311 - plausible numbers, no secrets
    rows = [(layer, expert) for layer in range(layers) for expert in (range(experts) if experts else (None,))]
    return {
        "schema": 1,
        "model": {
            "name": "SmolLM2-135M-Instruct",
            "digest": "sha256:7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
            "architecture": "LlamaForCausalLM",
            "layers": layers,
            "neurons": 1536,
            "experts": experts,
            "dtype": "bfloat16",
            "parameters": 134_515_008,
        },
        "prompts": {
            "file": "prompts.jsonl",
            "sha256": "3f6ad0c54b8cf6f3f7e0c8d2c3b3e5a2b0f0d6b5f7a2a6c0f5f7d2b7c9e1a4d8",
            "labels": [{"label": label, "instances": 120, "tokens": chance.randint(3000, 5000)} for label in labels],
        },
        "settings": {"tokens": 20_000, "seed": 7, "device": "cpu", "batch": 8},
        "seconds": {
            "sparsity": 212.4,
            "specialisation": 88.1,
            "partition": 8.2,
            "perturbation": 1404.0,
            "bricks": 233.9,
        },
        "sparsity": _sparsity(chance, rows, layers),
        "specialisation": _specialisation(chance, rows, labels),
        "partition": _partition(chance, labels),
        "perturbation": _perturbation(chance, labels),
        "bricks": _bricks(chance, labels),
        "split": _split(),
    }


def _sparsity(chance: Random, rows: list[tuple[int, int | None]], layers: int) -> dict[str, Any]:
    found = []
    for layer, expert in rows:
        inner = math.sin(math.pi * (layer + 0.5) / layers) ** 0.4
        needed = 0.06 + 0.15 * inner + chance.uniform(-0.01, 0.01)
        sharp = {"activation": 24 - 11 * inner, "magnitude": 20 - 12 * inner}
        found.append(
            {
                "layer": layer,
                "expert": expert,
                "neurons": 1536,
                "below": 0.98 - 0.12 * inner + chance.uniform(-0.01, 0.01),
                "below_magnitude": 0.97 - 0.15 * inner + chance.uniform(-0.01, 0.01),
                "energy": {"0.9": needed, "0.95": 1.5 * needed, "0.99": 2.5 * needed},
                "histogram": {kind: _counts(chance, rate) for kind, rate in sharp.items()},
            }
        )
    masked = [
        {"by": by, "share": share, "loss": loss, "perplexity": math.exp(loss)}
        for by, bend in (("activation", 0.72), ("magnitude", 0.82))
        for share in (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
        for loss in (3.3 + 0.03 * share + 2.4 * max(0.0, share - bend) ** 1.2 * 4,)
    ]
    return {"layers": found, "edges": [bin_ / _BINS for bin_ in range(_BINS + 1)], "masked": masked}


def _counts(chance: Random, rate: float) -> list[int]:
    return [round(2e6 * math.exp(-rate * bin_ / _BINS) * chance.uniform(0.9, 1.1)) for bin_ in range(_BINS)]


def _specialisation(chance: Random, rows: list[tuple[int, int | None]], labels: tuple[str, ...]) -> dict[str, Any]:
    strength = {label: max(0.4, 0.92 - 0.13 * at) for at, label in enumerate(labels)}
    base = 1 / len(labels)
    depth = max(layer for layer, _ in rows) + 1
    found = [
        {
            "layer": layer,
            "expert": expert,
            "label": label,
            "best": min(
                0.99, strength[label] * (0.75 + 0.3 * math.sin(3 * (layer + 2) / depth)) + chance.uniform(-0.05, 0.05)
            ),
            "mean": base + 0.03 + chance.uniform(-0.01, 0.01),
        }
        for label in labels
        for layer, expert in rows
    ]
    top = {
        label: [
            {"layer": chance.randrange(depth), "neuron": chance.randrange(1536), "score": strength[label] - at / 100}
            for at in range(20)
        ]
        for label in labels
    }
    return {
        "labels": list(labels),
        "prevalence": dict.fromkeys(labels, base),
        "random": dict.fromkeys(labels, base + 0.01),
        "layers": found,
        "top": top,
        "structure": "histograms of 1,024 bins",
        "error": 0.0016,
    }


def _partition(chance: Random, labels: tuple[str, ...]) -> dict[str, Any]:
    def matrix(low: float, high: float) -> list[list[float]]:
        values = [[1.0] * len(labels) for _ in labels]
        for at in range(len(labels)):
            for other in range(at):
                values[at][other] = values[other][at] = chance.uniform(low, high)
        return values

    measured, null = matrix(0.002, 0.045), matrix(0.018, 0.027)
    return {"labels": list(labels), "share": _SHARE, "overlap": measured, "null": null, "seeds": 5, "random": _SHARE}


def _perturbation(chance: Random, labels: tuple[str, ...]) -> dict[str, Any]:
    own = (81.0, 45.0, 704.0, 13.0, 160.0)
    shares = []
    for share in (0.01, 0.02, 0.05):
        scale = (share / 0.01) ** 0.8
        change = [
            [scale * (own[at % len(own)] if at == column else chance.uniform(-3, 12)) for column in range(len(labels))]
            for at in range(len(labels))
        ]
        controls = [[scale * chance.uniform(0.5, 19) for _ in labels] for _ in range(3)]
        control = [sorted(column)[1] for column in zip(*controls, strict=True)]
        shares.append({"share": share, "change": change, "control": control, "controls": controls})
    return {
        "labels": list(labels),
        "perplexity": [(6.9, 9.8, 34.5, 28.4, 21.2)[at % 5] for at in range(len(labels))],
        "shares": shares,
    }


def _bricks(chance: Random, labels: tuple[str, ...]) -> dict[str, Any]:
    base = [(3.1, 2.7, 3.9, 3.4, 3.0)[at % 5] for at in range(len(labels))]
    alone = [
        [loss * (0.45 if at == column else chance.uniform(0.97, 1.12)) for column, loss in enumerate(base)]
        for at in range(len(BRICKS))
    ]
    everything = [loss * 0.62 for loss in base]
    coupling = [
        [chance.uniform(50, 110) if at == column else chance.uniform(-9, 7) for column in range(len(labels))]
        for at in range(len(BRICKS))
    ]
    without = [[loss * (1 + change / 100) for loss, change in zip(everything, row, strict=True)] for row in coupling]
    return {
        "bricks": list(BRICKS),
        "labels": list(labels),
        "base": base,
        "all": everything,
        "alone": alone,
        "without": without,
        "coupling": coupling,
        "fewest": {label: list(BRICKS[at : at + 1]) for at, label in enumerate(labels)},
    }


def _split() -> dict[str, Any]:
    worst = {"shared": 0.8, "coactivation": 1.5, "kmeans": 1.9, "contiguous": 2.6, "random": 2.9}
    router = {"oracle": 1.0, "linear": 1.5, "similarity": 1.7}
    curves = [
        {"method": method, "router": by, "share": share, "loss": loss, "perplexity": math.exp(loss)}
        for method, bad in worst.items()
        for by, factor in router.items()
        for share in (0.25, 0.5, 0.75, 1.0)
        for loss in (3.3 + bad * factor * (1 - share) ** 1.4 * 2,)
    ]
    return {"dense": 3.3, "curves": curves}
