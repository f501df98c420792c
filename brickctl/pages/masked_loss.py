"""What is lost when the weakest neurons of every token are masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts, reading
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.numerals import decimal, listed, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.document import Table

_KINDS = (("activation", "by activation"), ("magnitude", "by output magnitude"))
_LITTLE = 0.05  # nats per token: perplexity 5 % higher
Curve = tuple[tuple[float, float | None], ...]


def masked_loss(section: Table) -> Figure | None:
    """Loss against the share of neurons that are masked, by both indicators."""
    rows = reading.tables(section, "masked")
    curves = {name: _curve(rows, key) for key, name in _KINDS}
    known = {name: curve for name, curve in curves.items() if any(loss is not None for _, loss in curve)}
    if not known:
        return None
    return Figure(
        name="sparsity-masked",
        title="How many weak neurons can be left out",
        says=_says(known),
        caveat="Neurons are chosen anew for every token: a perfect predictor could save this, a smaller model cannot.",
        panels=(_panel(known),),
        tables=(_numbers(rows),),
    )


def _curve(rows: Sequence[Table], key: str) -> Curve:
    points = [
        (share, row.number_or_none("loss"))
        for row in rows
        if reading.name(row, "by") == key and (share := row.number_or_none("share")) is not None
    ]
    return tuple(sorted(points, key=lambda point: point[0]))


def _says(curves: dict[str, Curve]) -> str:
    parts = [f"{percent(_harmless(curve))} {name}" for name, curve in curves.items()]
    return (
        f"As many as {listed(parts)} can be masked before the loss rises by {_LITTLE:g} nats per token"
        f" (the paper: about {percent(0.7)} by activation, {percent(0.8)} by magnitude)."
    )


def _harmless(curve: Curve) -> float:
    """The largest share up to which every loss stays near that of the smallest share."""
    first = next(loss for _, loss in curve if loss is not None)
    last = curve[0][0]
    for share, loss in curve:
        if loss is None or loss > first + _LITTLE:
            break
        last = share
    return last


def _panel(curves: dict[str, Curve]) -> Panel:
    drawn = [charts.Line(name=name, points=curve) for name, curve in curves.items()]
    x = charts.Axis(title="share of neurons masked", domain=(0, 1), expression=charts.PERCENT)
    y = charts.Axis(title="loss in nats per token")
    words = f"Loss against the share of neurons masked, {listed(curves)}: the numbers are in the table below."
    title = "Loss when the weakest neurons are masked"
    return Panel(title=title, describes=words, spec=charts.lines(drawn, x, y, points=True))


def _numbers(rows: Sequence[Table]) -> Numbers:
    cells = tuple(
        (
            reading.name(row, "by") or "",
            percent(row.number_or_none("share")),
            decimal(row.number_or_none("loss")),
            decimal(row.number_or_none("perplexity"), 2),
        )
        for row in rows
    )
    return Numbers(caption="Masked", columns=("indicator", "masked", "loss", "perplexity"), rows=cells)
