"""The two kinds of plots, as specifications of Vega-Lite: lines over a number, and cells in rows and columns.

Names from outside stand in data and in lists of names only, never in an expression or where they could mean a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.pages.colours import LINES, named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.pages.figure import Spec
    from brickctl.pages.levels import Levels

PERCENT = "format(100 * datum.value, '~g') + ' %'"
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 2], [10, 2], [3, 4], [6, 2, 2, 2])
_LONGEST_LABEL = 110  # pixels
_COLUMNS = 3
_LONG_NAME = 20  # letters
_SMALL = 12  # pixels, as all text in a plot
_LEGEND = {"orient": "bottom", "title": None, "labelLimit": 220, "columnPadding": 24, "rowPadding": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis of numbers. `domain` fixes its ends; `expression` is how Vega writes its labels."""

    title: str
    domain: tuple[float, float] | None = None
    expression: str | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points (x, y) under one name; a point whose y is unknown is a gap. A `quiet` line is there to compare with."""

    name: str
    points: tuple[tuple[float, float | None], ...]
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A value in a row and a column, with the text that stands in it; `marked` draws a frame."""

    row: str
    column: str
    value: float
    text: str = ""
    marked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Which rows and columns there are, in their order, and what they are called together.

    A row without a cell is a gap. Of many names only the `ticks` are written.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_title: str
    column_title: str
    row_ticks: tuple[str, ...] | None = None
    column_ticks: tuple[str, ...] | None = None


def apart(name: str) -> str:
    """The name of a row of our own: no name from outside can be the same, since those have no such space."""
    return f"\N{NO-BREAK SPACE}{name}"


def lines(
    drawn: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    size: tuple[int, int] = (360, 220),
    rule: tuple[str, float] | None = None,
    points: bool = False,
) -> Spec:
    """Lines with a legend below; `rule` is a horizontal line with a name, `points` marks what was measured.

    A line differs from the others in colour and in dashes.
    """
    values = [{"x": at, "y": value, "line": line.name} for line in drawn for at, value in line.points]
    mark = {"type": "line", "interpolate": "linear", "strokeWidth": 2, "point": {"size": 24} if points else False}
    curves = {"data": {"values": values}, "mark": mark, "encoding": _line_encoding(drawn, x, y, size[0])}
    layers = [curves, *(_rule(*rule) if rule is not None else ())]
    return _plot({"width": size[0], "height": size[1], "layer": layers})


def cells(drawn: Sequence[Cell], grid: Grid, levels: Levels, *, size: tuple[int, int]) -> Spec:
    """Coloured cells, each in the colour of its level, with its text in a colour that can be read on it.

    Where cells have texts there is no legend, which would only say again what they say.
    """
    values = [_datum(cell, levels) for cell in drawn]
    places = {"x": _names(grid.columns, grid.column_title, "column", grid.column_ticks)}
    places["y"] = _names(grid.rows, grid.row_title, "row", grid.row_ticks)
    written = any(cell.text for cell in drawn)
    rect = {"mark": {"type": "rect", "stroke": named("surface"), "strokeWidth": int(written)}}
    text = {"mark": {"type": "text", "fontSize": _SMALL}}
    frame = {"mark": {"type": "rect", "filled": False, "stroke": named("ink"), "strokeWidth": 1.5}}
    layers = [
        rect | {"encoding": {"color": _level_colour(levels, "", legend=not written)}},
        text | {"encoding": {"text": {"field": "text"}, "color": _level_colour(levels, "on-", legend=False)}},
        frame | {"transform": [{"filter": "datum.marked"}]},
    ]
    return _plot(
        {
            "width": size[0],
            "height": size[1],
            "data": {"values": values},
            "encoding": places,
            "layer": layers if written else layers[:1],
            "resolve": {"scale": {"color": "independent"}},
        }
    )


def _datum(cell: Cell, levels: Levels) -> dict[str, Any]:
    place = {"row": cell.row, "column": cell.column}
    return place | {"level": levels.of(cell.value), "text": cell.text, "marked": cell.marked}


def _plot(parts: Mapping[str, Any]) -> Spec:
    """A plot in the look of the page. It has no text for screen readers in itself: the page says what it shows."""
    quiet = {"labelColor": named("muted"), "titleColor": named("muted")}
    small = {"labelFontSize": _SMALL, "titleFontSize": _SMALL}
    axis = {"domain": False, "ticks": False, "gridColor": named("grid"), "labelPadding": 6, "titlePadding": 8}
    config = {
        "aria": False,
        "font": "sans-serif",
        "view": {"stroke": None},
        "axis": quiet | small | axis | {"titleFontWeight": "normal", "labelLimit": _LONGEST_LABEL},
        "legend": small | {"labelColor": named("ink"), "symbolStrokeWidth": 2},
        "title": {"color": named("ink"), "anchor": "start", "fontSize": 13, "offset": 10},
    }
    return {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "background": None, "config": config, **parts}


def _abreast(names: Sequence[str], width: int) -> int:
    """How many names a legend has beside one another; long ones would make the whole plot wide."""
    if max(map(len, names)) > _LONG_NAME:
        return max(1, width // 260)
    return max(_COLUMNS if len(names) <= _COLUMNS else 1, width // 120)


def _line_encoding(drawn: Sequence[Line], x: Axis, y: Axis, width: int) -> dict[str, Any]:
    names = [line.name for line in drawn]
    loud = iter(range(len(drawn)))
    shades = [named("muted" if line.quiet else f"line-{next(loud) % LINES}") for line in drawn]
    dashes = [_DASHES[at % len(_DASHES)] for at in range(len(drawn))]
    legend = _LEGEND | {"columns": _abreast(names, width), "symbolType": "stroke", "symbolSize": 300}
    shared = {"field": "line", "type": "nominal", "legend": legend}
    return {
        "x": _number("x", x, grid=False),
        "y": _number("y", y, grid=True),
        "color": shared | {"scale": {"domain": names, "range": shades}},
        "strokeDash": shared | {"scale": {"domain": names, "range": dashes}},
    }


def _number(field: str, axis: Axis, *, grid: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"title": axis.title, "grid": grid, "tickCount": 5, "labelFlush": False}
    if axis.expression is not None:
        shown["labelExpr"] = axis.expression
    if axis.whole:
        shown |= {"tickMinStep": 1, "format": "d"}
    scale: dict[str, Any] = {"zero": False, "nice": axis.domain is None and not axis.whole}
    if axis.domain is not None:
        scale["domain"] = list(axis.domain)
    return {"field": field, "type": "quantitative", "axis": shown, "scale": scale}


def _rule(name: str, value: float) -> list[dict[str, Any]]:
    data = {"data": {"values": [{"y": value, "name": name}]}}
    place = {"y": {"field": "y", "type": "quantitative"}}
    line = {"type": "rule", "color": named("ink"), "strokeWidth": 1}
    text = {"type": "text", "align": "left", "baseline": "bottom", "dy": -3, "color": named("ink"), "fontSize": _SMALL}
    return [
        data | {"mark": line, "encoding": place},
        data | {"mark": text, "encoding": place | {"x": {"value": 2}, "text": {"field": "name"}}},
    ]


def _names(order: Sequence[str], title: str, field: str, ticks: Sequence[str] | None) -> dict[str, Any]:
    """An axis of names; of many only the `ticks` are written. Slanted above the columns where they are words."""
    axis: dict[str, Any] = {"title": title}
    if ticks is not None:
        axis |= {"values": list(ticks), "labelAngle": 0}
    elif field == "column":
        axis |= {"orient": "top", "labelAngle": -35, "labelAlign": "left"}
    else:
        axis |= {"titleAngle": 0, "titleAlign": "right", "titleAnchor": "start", "titleX": -6, "titleY": -8}
    return {"field": field, "type": "ordinal", "scale": {"domain": list(order)}, "sort": None, "axis": axis}


def _level_colour(levels: Levels, prefix: str, *, legend: bool) -> dict[str, Any]:
    scale = {"domain": list(levels.names), "range": [named(prefix + shade) for shade in levels.shades]}
    shown = _LEGEND | {"columns": _COLUMNS, "symbolType": "square", "symbolSize": 140, "symbolStrokeWidth": 0}
    return {"field": "level", "type": "ordinal", "scale": scale, "legend": shown if legend else None}
