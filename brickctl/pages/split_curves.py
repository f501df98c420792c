"""What a model loses when only some groups of its neurons are active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts, reading
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.numerals import UNKNOWN, decimal, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.document import Table

_HALF, _CLOSE = 0.5, 0.05
Point = tuple[str, str, float, float]
"""Method, router, active share, loss."""


def split_curves(section: Table) -> Figure | None:
    """Loss against the active share: a plot for each router, a line for each method, the dense model as a rule."""
    rows = reading.tables(section, "curves")
    points = [point for row in rows if (point := _point(row)) is not None]
    if not points:
        return None
    dense = section.number_or_none("dense")
    ends = _ends(points, dense)
    methods = tuple(dict.fromkeys(method for method, _, _, _ in points))
    routers = dict.fromkeys(router for _, router, _, _ in points)
    return Figure(
        name="split-curves",
        title="What fewer active groups cost",
        says=_says(points, dense),
        caveat=(
            "The oracle looks at the activations that it is to save: it bounds what a router can reach."
            " All groups active give the dense model back; below that, nothing is promised."
        ),
        panels=tuple(_panel(router, methods, points, (dense, ends)) for router in routers),
        tables=(_numbers(rows, dense),),
    )


def _point(row: Table) -> Point | None:
    method, router = reading.name(row, "method"), reading.name(row, "router")
    share, loss = row.number_or_none("share"), row.number_or_none("loss")
    if method is None or share is None or loss is None:
        return None
    return method, router or "no router", share, loss


def _ends(points: Sequence[Point], dense: float | None) -> tuple[float, float]:
    """The same ends of the axis in every plot."""
    losses = [point[3] for point in points] + ([] if dense is None else [dense])
    margin = 0.05 * (max(losses) - min(losses)) or 0.1
    return min(losses) - margin, max(losses) + margin


def _says(points: Sequence[Point], dense: float | None) -> str:
    """The best and the worst of all curves, each where it is nearest to a half: shared neurons shift the shares."""
    parts = [point for point in points if point[2] < 1] or list(points)
    near = min(parts, key=lambda point: (abs(point[2] - _HALF), point[2]))[2]
    nearest: dict[tuple[str, str], tuple[float, float]] = {}
    for method, router, share, loss in parts:
        before = nearest.get((method, router))
        if before is None or abs(share - near) < abs(before[0] - near):
            nearest[method, router] = share, loss
    here = sorted((loss, *names) for names, (share, loss) in nearest.items() if abs(share - near) < _CLOSE)
    (best, method, router), (worst, other, bad) = here[0], here[-1]
    against = f" against {decimal(dense, 2)} of the dense model" if dense is not None else ""
    return (
        f"With {percent(near)} of the neurons active, the lowest loss is {decimal(best, 2)} ({method}, {router})"
        f"{against}; the highest is {decimal(worst, 2)} ({other}, {bad})."
    )


def _panel(
    router: str, methods: Sequence[str], points: Sequence[Point], scale: tuple[float | None, tuple[float, float]]
) -> Panel:
    dense, ends = scale
    drawn = [charts.Line(name=method, points=_curve(points, method, router)) for method in methods]
    x = charts.Axis(title="active share of neurons", domain=(0, 1), expression=charts.PERCENT)
    y = charts.Axis(title="loss in nats per token", domain=ends)
    rule = None if dense is None else ("dense", dense)
    words = f"Loss against the active share with the router {router}, for {len(methods)} methods: see the table below."
    spec = charts.lines(drawn, x, y, size=(245, 200), rule=rule, points=True)
    return Panel(title=f"Router: {router}", describes=words, spec=spec)


def _curve(points: Sequence[Point], method: str, router: str) -> tuple[tuple[float, float], ...]:
    return tuple(sorted((share, loss) for name, by, share, loss in points if (name, by) == (method, router)))


def _numbers(rows: Sequence[Table], dense: float | None) -> Numbers:
    cells = tuple(
        (
            reading.name(row, "method") or "",
            reading.name(row, "router") or UNKNOWN,
            percent(row.number_or_none("share")),
            decimal(row.number_or_none("loss")),
            decimal(row.number_or_none("perplexity"), 2),
        )
        for row in rows
    )
    whole = () if dense is None else (("dense", UNKNOWN, percent(1), decimal(dense), UNKNOWN),)
    columns = ("method", "router", "active", "loss", "perplexity")
    return Numbers(caption="Loss in nats per token", columns=columns, rows=(*whole, *cells))
