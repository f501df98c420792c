"""What people read of an analysis on a terminal: a short table for each measurement; the page has everything."""

from __future__ import annotations

from statistics import mean, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.cli.console import Console


def show_analysis(console: Console, document: Mapping[str, Any]) -> None:
    """Every section that there is."""
    shows = {
        "sparsity": _show_sparsity,
        "specialisation": _show_specialisation,
        "partition": _show_partition,
        "perturbation": _show_perturbation,
        "split": _show_split,
        "bricks": _show_bricks,
    }
    first = True
    for name, show in shows.items():
        if name in document:
            console.show(name if first else f"\n{name}")
            show(console, document[name])
            first = False


def _show_sparsity(console: Console, section: Mapping[str, Any]) -> None:
    layers = section["layers"]
    small = median(layer["below"] for layer in layers)
    needed = ", ".join(
        f"{median(layer['energy'][share] for layer in layers):.0%} for {float(share):.0%}"
        for share in layers[0]["energy"]
    )
    console.show(f"in the median layer {small:.0%} of activations are below 0.2 of the largest;")
    console.show(f"of the output's energy, neurons carry: {needed}")
    by_share: dict[float, dict[str, float | None]] = {}
    for row in section["masked"]:
        by_share.setdefault(row["share"], {})[row["by"]] = row["perplexity"]
    rows = [
        (f"{share:.0%}", _number(found.get("activation")), _number(found.get("magnitude")))
        for share, found in sorted(by_share.items())
    ]
    console.table(("masked", "perplexity, by activation", "by magnitude"), rows)


def _show_specialisation(console: Console, section: Mapping[str, Any]) -> None:
    rows = []
    for label in section["labels"]:
        mine = [layer for layer in section["layers"] if layer["label"] == label]
        top = section["top"][label][0]
        expert = "" if top["expert"] is None else f"expert {top['expert']}, "
        where = f"layer {top['layer']}, {expert}neuron {top['neuron']}"
        rows.append(
            (
                label,
                _number(top["score"]),
                where,
                _number(mean(one["mean"] for one in mine)),
                _number(section["random"][label]),
            )
        )
    console.table(("label", "best", "where", "mean", "random"), rows)


def _show_partition(console: Console, section: Mapping[str, Any]) -> None:
    labels, share = section["labels"], section["share"]
    by_chance = f"{_number(_beside(section['null']))} with permuted labels, {_number(section['random'])} of random sets"
    console.show(f"overlap of the best {share:.0%} for each label; by chance {by_chance}")
    console.table(("", *labels), _matrix(labels, section["overlap"]))


def _show_perturbation(console: Console, section: Mapping[str, Any]) -> None:
    labels = section["labels"]
    for one in section["shares"]:
        rows = [(name, *map(_percent, row)) for name, row in zip(labels, one["change"], strict=True)]
        rows.append(("random (median)", *map(_percent, one["control"])))
        console.table((f"best {one['share']:.0%} pruned", *labels), rows)


def _show_split(console: Console, section: Mapping[str, Any]) -> None:
    """A row for each way to split and each router, a column for each share of neurons that is on."""
    rows: dict[tuple[str, str], list[str]] = {}
    for curve in section["curves"]:
        name = f"{curve['method']}, {curve['groups']} groups"
        rows.setdefault((name, curve["router"]), []).append(_number(curve["perplexity"]))
    shares = dict.fromkeys(f"{round(20 * curve['share']) * 5}%" for curve in section["curves"])
    dense = "no number" if section["dense"] is None else f"{section['dense']:.3f}"
    console.show(f"the loss of the whole model is {dense}; perplexity with so many neurons on:")
    console.table(("split", "router", *shares), [(*names, *cells) for names, cells in rows.items()])


def _show_bricks(console: Console, section: Mapping[str, Any]) -> None:
    bricks = section["bricks"]
    rows = [("base", *map(_number, section["base"]))]
    rows += [(f"{name} alone", *map(_number, row)) for name, row in zip(bricks, section["alone"], strict=True)]
    rows.append(("all", *map(_number, section["all"])))
    rows += [(f"all but {name}", *map(_number, row)) for name, row in zip(bricks, section["without"], strict=True)]
    fewest = (section["fewest"].get(label) for label in section["labels"])
    rows.append(("fewest", *("?" if names is None else "+".join(names) or "none" for names in fewest)))
    console.table(("loss of", *section["labels"]), rows)


def _matrix(labels: Sequence[str], rows: Sequence[Sequence[float | None]]) -> list[tuple[str, ...]]:
    return [(label, *map(_number, row)) for label, row in zip(labels, rows, strict=True)]


def _beside(matrix: Sequence[Sequence[float]]) -> float:
    """The mean beside the diagonal."""
    return mean(cell for at, row in enumerate(matrix) for other, cell in enumerate(row) if at != other)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"  # noqa: PLR2004 - three digits say enough


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+,.0f}%"
