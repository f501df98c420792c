"""Where the activations of a layer lie between nothing and the strongest of their token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from brickctl.pages import charts, reading
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.levels import shares
from brickctl.pages.numerals import middle, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.document import Table

_KINDS = (("activation", "Activation"), ("magnitude", "Output magnitude"))
_BOUNDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
_EVERY = 5
_WIDTH, _ROW = 370, 9


def histograms(section: Table) -> Figure | None:
    """Two maps, layer by bin: the share of a layer's values that fall into a bin."""
    edges = reading.row(section, "edges")
    rows = reading.tables(section, "layers")
    if len(edges) < 2 or None in edges:  # noqa: PLR2004 - a bin has two
        return None
    bins = tuple(f"{edge:g}" for edge in edges[:-1] if edge is not None)
    found = [(title, layers) for key, title in _KINDS if (layers := _shares(rows, key, len(bins)))]
    if not found:
        return None
    return Figure(
        name="sparsity-histograms",
        title="Where the values of a layer lie",
        says=_says(found, edges),
        panels=tuple(_panel(title, layers, bins) for title, layers in found),
        tables=tuple(_numbers(title, layers, bins) for title, layers in found),
    )


Shares = dict[int, tuple[float, ...]]
"""The share of each bin, by layer."""


def _shares(rows: Sequence[Table], key: str, bins: int) -> Shares:
    """Experts of one layer are added up."""
    counts: dict[int, list[float]] = {}
    for row in rows:
        below = row.table_or_none("histogram")
        values = reading.row(below, key, bins) if below is not None else ()
        if values:
            old = counts.setdefault(row.integer("layer"), [0.0] * bins)
            counts[row.integer("layer")] = [one + (more or 0) for one, more in zip(old, values, strict=True)]
    totals = {layer: math.fsum(values) for layer, values in sorted(counts.items())}
    return {layer: tuple(value / total for value in counts[layer]) for layer, total in totals.items() if total > 0}


def _says(found: Sequence[tuple[str, Shares]], edges: reading.Row) -> str:
    parts = [f"{percent(middle(layer[0] for layer in layers.values()))} by {title.lower()}" for title, layers in found]
    return (
        f"The lowest bin, up to {percent(edges[1])} of the maximum of the token, holds {' and '.join(parts)}"
        " in the median layer. Strong colours in the right half would be layers whose neurons fire together."
    )


def _panel(title: str, layers: Shares, bins: tuple[str, ...]) -> Panel:
    names = tuple(str(layer) for layer in layers)
    drawn = [
        charts.Cell(row=str(layer), column=column, value=value)
        for layer, values in layers.items()
        for column, value in zip(bins, values, strict=True)
        if value > 0
    ]
    grid = charts.Grid(
        rows=names,
        columns=bins,
        row_title="layer",
        column_title="share of the maximum of the token",
        row_ticks=names[::_EVERY],
        column_ticks=bins[:: max(1, len(bins) // 5)],
    )
    size = (len(bins) * max(1, _WIDTH // len(bins)), _ROW * len(names))  # whole pixels: no seams between cells
    spec = charts.cells(drawn, grid, shares(_BOUNDS), size=size)
    words = f"{title}: the share of the values of each layer in {len(bins)} bins, from zero to the maximum of a token."
    return Panel(title=f"{title}: per cent of a layer in a bin", describes=words, spec=spec)


def _numbers(title: str, layers: Shares, bins: tuple[str, ...]) -> Numbers:
    rows = tuple((str(layer), *(percent(value) for value in values)) for layer, values in layers.items())
    return Numbers(caption=f"{title}: share of values in the bin that begins at", columns=("layer", *bins), rows=rows)
