"""How few neurons carry a layer's output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts, reading
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.numerals import middle, percent, several

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.document import Table

_SHARES = ("0.9", "0.95", "0.99")
_WEAK = (("below", "by activation"), ("below_magnitude", "by output magnitude"))
_LAYER = charts.Axis(title="layer", whole=True)
_PAPER = 0.8
_NEEDED = "Neurons needed for a share of the energy"
_SILENT = "Neurons below a fifth of the strongest one"


def energy(section: Table) -> Figure | None:
    """Neurons needed for 90, 95 and 99 % of the energy, and neurons that are nearly silent, over the layers."""
    rows = reading.tables(section, "layers")
    needed = [_needed(rows, share) for share in _SHARES]
    weak = [_weak(rows, key, name) for key, name in _WEAK]
    panels = [
        _panel(lines, title) for lines, title in ((needed, _NEEDED), (weak, _SILENT)) if any(x.points for x in lines)
    ]
    if not panels:
        return None
    return Figure(
        name="sparsity-energy",
        title="How many neurons carry a layer",
        says=_says(needed, weak),
        caveat=_experts(rows),
        panels=tuple(panels),
        tables=(_numbers(rows),),
    )


def _needed(rows: Sequence[Table], share: str) -> charts.Line:
    pairs = ((row.integer("layer"), reading.mapping(row, "energy").get(share)) for row in rows)
    return charts.Line(name=f"{100 * float(share):.0f} %", points=reading.by_layer(pairs))


def _weak(rows: Sequence[Table], key: str, name: str) -> charts.Line:
    pairs = ((row.integer("layer"), row.number_or_none(key)) for row in rows)
    return charts.Line(name=name, points=reading.by_layer(pairs))


def _panel(lines: Sequence[charts.Line], title: str) -> Panel:
    drawn = [line for line in lines if line.points]
    y = charts.Axis(title="share of neurons", domain=(0, 1), expression=charts.PERCENT)
    ranges = "; ".join(f"{line.name}: {_range(line)}" for line in drawn)
    return Panel(title=title, describes=f"{title}, for each layer. {ranges}.", spec=charts.lines(drawn, _LAYER, y))


def _range(line: charts.Line) -> str:
    values = [value for _, value in line.points if value is not None]
    return f"{percent(min(values))} to {percent(max(values))}"


def _says(needed: Sequence[charts.Line], weak: Sequence[charts.Line]) -> str:
    parts = []
    if needed[0].points:
        most, all_ = (percent(middle(value for _, value in line.points)) for line in (needed[0], needed[-1]))
        parts.append(f"In the median layer {most} of the neurons carry 90 % of the energy, and {all_} carry 99 %.")
    if weak[0].points:
        silent = percent(middle(value for _, value in weak[0].points))
        parts.append(
            f"{silent} of the neurons stay below a fifth of the largest activation of their token"
            f" (the paper found about {percent(_PAPER)} in models of 7 and 8 billion parameters)."
        )
    return " ".join(parts)


def _experts(rows: Sequence[Table]) -> str | None:
    experts = reading.experts_of(rows)
    return f"Each point is the mean of the {several(experts, 'expert')} of a layer." if experts else None


def _numbers(rows: Sequence[Table]) -> Numbers:
    columns = (
        "layer",
        "expert",
        "neurons",
        *(f"for {percent(float(share))}" for share in _SHARES),
        *(n for _, n in _WEAK),
    )
    return Numbers(caption="Share of neurons, layer by layer", columns=columns, rows=tuple(_cells(row) for row in rows))


def _cells(row: Table) -> tuple[str, ...]:
    found = reading.mapping(row, "energy")
    return (
        *(reading.integer(row, key) for key in ("layer", "expert", "neurons")),
        *(percent(found.get(share)) for share in _SHARES),
        *(percent(row.number_or_none(key)) for key, _ in _WEAK),
    )
