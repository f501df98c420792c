"""The numbers of the bricks over the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.numerals import UNKNOWN, several

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.pages.target.contents import Curve, Report, Weights

_MOST_LINES = 8
"""Lines of a plot: as many as there are colours."""

_MOST_TOLD = 6
_SIZE = (300, 180)


def weights(report: Report) -> tuple[Figure, ...]:
    """One figure for each number of each merge."""
    return tuple(_figure(one, len(report.steps)) for one in report.weights)


def _figure(weights: Weights, steps: int) -> Figure:
    title = f"{weights.parameter.capitalize()}: {weights.title}"
    return Figure(
        name=f"weights-{weights.step}-{weights.parameter}",
        title=title if steps == 1 else f"Step {weights.step}. {title}",
        says=_says(weights),
        panels=tuple(_panels(weights)) if _varies(weights) else (),
        tables=(_numbers(weights),),
    )


def _varies(weights: Weights) -> bool:
    return any(len(set(curve.values)) > 1 for curve in weights.curves)


def _says(weights: Weights) -> str:
    """The constant numbers, and between which ends the others lie."""
    parts = [f"{curve.name} {_ends(curve)}" for curve in weights.curves[:_MOST_TOLD]]
    left = len(weights.curves) - len(parts)
    more = f"; and {several(left, 'other')}" if left else ""
    same = "" if _varies(weights) else ", the same in every layer"
    return f"{'; '.join(parts)}{more}{same}."


def _ends(curve: Curve) -> str:
    known = [value for value in curve.values if value is not None]
    if not known:
        return UNKNOWN
    low, high = min(known), max(known)
    return f"{low:.3g}" if low == high else f"from {low:.3g} to {high:.3g}"


def _panels(weights: Weights) -> Iterator[Panel]:
    """Plots of a few lines each."""
    for begin in range(0, len(weights.curves), _MOST_LINES):
        curves = weights.curves[begin : begin + _MOST_LINES]
        drawn = [charts.Line(name=curve.name, points=tuple(enumerate(curve.values))) for curve in curves]
        x = charts.Axis(title="layer", whole=True)
        spec = charts.lines(drawn, x, charts.Axis(title=weights.parameter), size=_SIZE, points=True)
        words = f"{weights.parameter} over the layers, {several(len(curves), 'line')}: see the table below."
        yield Panel(title=f"{weights.parameter.capitalize()} by layer", describes=words, spec=spec)


def _numbers(weights: Weights) -> Numbers:
    """A row for each layer, and one for each run of layers that are alike."""
    rows: list[tuple[int, int, tuple[float | None, ...]]] = []
    for layer, values in enumerate(zip(*(curve.values for curve in weights.curves), strict=True)):
        if rows and rows[-1][2] == values:
            rows[-1] = (rows[-1][0], layer, values)
        else:
            rows.append((layer, layer, values))
    cells = tuple((_run(first, last), *map(_cell, values)) for first, last, values in rows)
    columns = ("layer", *(curve.name for curve in weights.curves))
    return Numbers(caption=f"{weights.parameter.capitalize()} by layer", columns=columns, rows=cells)


def _run(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _cell(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.6g}"
