"""How well single neurons tell one kind of text from all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts, reading
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.numerals import decimal, listed, percent, several

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.document import Table

_LAYER = charts.Axis(title="layer", whole=True)
_SCORE = charts.Axis(title="average precision", domain=(0, 1))
_SIZE = (245, 140)
_HIGH = 0.8


def functionality(section: Table) -> Figure | None:
    """One small plot a label: best, mean and random average precision over the layers."""
    rows = reading.tables(section, "layers")
    labels = reading.names(section, "labels")
    best = {label: _curve(rows, label, "best") for label in labels}
    if not any(best.values()):
        return None
    random = reading.mapping(section, "random")
    return Figure(
        name="specialisation-scores",
        title="How well a neuron tells one kind of text",
        says=_says(best, random),
        caveat=_caveat(section, rows),
        panels=tuple(_panel(rows, label, random.get(label)) for label in labels if best[label]),
        tables=(_numbers(rows), *_strongest(section, labels), _chance(section, labels)),
    )


def _curve(rows: Sequence[Table], label: str, key: str) -> tuple[tuple[int, float], ...]:
    """Of the experts of a layer the best one for `best`, and their mean for `mean`."""
    mine = [(row.integer("layer"), row.number_or_none(key)) for row in rows if reading.name(row, "label") == label]
    if key == "mean":
        return reading.by_layer(mine)
    found: dict[int, float] = {}
    for layer, value in mine:
        if value is not None:
            found[layer] = max(value, found.get(layer, value))
    return tuple(sorted(found.items()))


def _says(best: dict[str, tuple[tuple[int, float], ...]], random: dict[str, float]) -> str:
    peaks = [(max(value for _, value in curve), label) for label, curve in best.items() if curve]
    peak, label = max(peaks, key=lambda one: one[0])
    by_chance = f", where chance gives {decimal(random[label], 2)}" if label in random else ""
    high = [label for label, curve in best.items() if 2 * sum(value > _HIGH for _, value in curve) > len(curve)]
    most = (
        f"Above {_HIGH:g} in most layers: {listed(high)}." if high else f"No label is above {_HIGH:g} in most layers."
    )
    return f"The best neuron of all reaches {decimal(peak, 2)} for {label}{by_chance}. {most}"


def _caveat(section: Table, rows: Sequence[Table]) -> str:
    parts = ["The best of many neurons is above chance even where none knows anything: see whether pruning them hurts."]
    structure, error = reading.name(section, "structure"), section.number_or_none("error")
    if structure is not None and error:
        parts.append(f"Scores come from {structure}; the first ones were off by at most {decimal(error, 4)}.")
    experts = reading.experts_of(rows)
    if experts:
        parts.append(f"A layer has {several(experts, 'expert')}: the best neuron of all, the mean of all.")
    return " ".join(parts)


def _panel(rows: Sequence[Table], label: str, random: float | None) -> Panel:
    best, mean = _curve(rows, label, "best"), _curve(rows, label, "mean")
    layers = [layer for layer, _ in best]
    drawn = [charts.Line(name="best neuron", points=best), charts.Line(name="mean", points=mean)]
    if random is not None:
        chance = tuple((layer, random) for layer in (min(layers), max(layers)))
        drawn.append(charts.Line(name="chance", points=chance, quiet=True))
    top = max(best, key=lambda point: point[1])
    words = f"Average precision for {label} by layer. The best neuron reaches {decimal(top[1], 2)}, in layer {top[0]}."
    return Panel(title=label, describes=words, spec=charts.lines(drawn, _LAYER, _SCORE, size=_SIZE))


def _numbers(rows: Sequence[Table]) -> Numbers:
    cells = tuple(
        (
            reading.name(row, "label") or "",
            reading.integer(row, "layer"),
            reading.integer(row, "expert"),
            decimal(row.number_or_none("best")),
            decimal(row.number_or_none("mean")),
        )
        for row in rows
    )
    return Numbers(caption="Average precision", columns=("label", "layer", "expert", "best", "mean"), rows=cells)


def _strongest(section: Table, labels: Sequence[str]) -> tuple[Numbers, ...]:
    """The neurons that stand out most, one table for all labels."""
    top = section.table_or_none("top")
    if top is None:
        return ()
    keys = reading.keys(top)
    found = [(label, one) for label in labels if label in keys for one in reading.tables(top, keys[label])]
    places = ("layer", "expert", "neuron") if reading.experts_of([one for _, one in found]) else ("layer", "neuron")
    rows = tuple(
        (label, *(reading.integer(one, place) for place in places), decimal(one.number_or_none("score")))
        for label, one in found
    )
    return (Numbers(caption="The strongest neurons", columns=("label", *places, "score"), rows=rows),)


def _chance(section: Table, labels: Sequence[str]) -> Numbers:
    """What a neuron that knows nothing reaches: a little more than the share of the texts that have the label."""
    prevalence, random = reading.mapping(section, "prevalence"), reading.mapping(section, "random")
    rows = tuple((label, percent(prevalence.get(label)), decimal(random.get(label))) for label in labels)
    return Numbers(caption="Chance", columns=("label", "share of the texts", "expected score"), rows=rows)
