"""Which skills each brick carries, alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts, reading
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.levels import NOISE, NONE, changes
from brickctl.pages.numerals import change, decimal, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.document import Table
    from brickctl.pages.reading import Matrix, Row

_CELL = (60, 30)
_BASE, _ALL = charts.apart("no brick"), charts.apart("all bricks")


def skills(section: Table) -> Figure | None:
    """Losses of the base, of each brick alone and of all, coloured by their change from the base."""
    bricks, labels = reading.names(section, "bricks"), reading.names(section, "labels")
    if not bricks or not labels:
        return None
    base = reading.row(section, "base", len(labels))
    alone = reading.matrix(section, "alone", len(labels))
    if not base or len(alone) != len(bricks):
        return None
    everything = reading.row(section, "all", len(labels))
    rows = {_BASE: base, **dict(zip(bricks, alone, strict=True)), **({_ALL: everything} if everything else {})}
    return Figure(
        name="bricks-skills",
        title="What each brick can do alone",
        says=_says(section, bricks, labels, (base, alone)),
        panels=(_panel(rows, labels, base),),
        tables=(_numbers(rows, labels),),
    )


def _says(section: Table, bricks: Sequence[str], labels: Sequence[str], losses: tuple[Row, Matrix]) -> str:
    base, alone = losses
    parts = []
    for at, label in enumerate(labels):
        gain, brick = min((_gain(row[at], base[at]), brick) for brick, row in zip(bricks, alone, strict=True))
        if gain < -NONE:
            parts.append(f"{brick} helps {label} most ({change(gain)})")
    helps = f"Alone, {'; '.join(parts)}." if parts else "No brick alone lowers the loss of any label."
    return f"{helps}{_fewest(section, labels)}"


def _fewest(section: Table, labels: Sequence[str]) -> str:
    """The smallest sets of bricks that are as good as all, where they were looked for."""
    found = section.table_or_none("fewest")
    if found is None:
        return ""
    keys = reading.keys(found)
    sets = [(label, reading.names(found, keys[label])) for label in labels if label in keys]
    words = [f"{label} needs {listed(names) if names else 'none'}" for label, names in sets]
    return f" Fewest bricks that are as good as all: {'; '.join(words)}." if words else ""


def _gain(value: float | None, base: float | None) -> float:
    """The change of a loss in per cent; 0 where it is not known, or lost in noise."""
    return 0.0 if value is None or not base or abs(value - base) < NOISE else 100 * (value - base) / base


def _panel(rows: dict[str, Row], labels: Sequence[str], base: Row) -> Panel:
    drawn = [
        charts.Cell(row=name, column=labels[at], value=_gain(value, base[at]), text=decimal(value, 2))
        for name, row in rows.items()
        for at, value in enumerate(row)
        if value is not None
    ]
    grid = charts.Grid(rows=tuple(rows), columns=tuple(labels), row_title="", column_title="")
    size = (_CELL[0] * len(labels), _CELL[1] * len(rows))
    words = "Loss of the base, of each brick alone and of all of them, on each label."
    title = "Loss; blue is better than the base"
    return Panel(title=title, describes=words, spec=charts.cells(drawn, grid, changes(), size=size))


def _numbers(rows: dict[str, Row], labels: Sequence[str]) -> Numbers:
    cells = tuple((name, *(decimal(value) for value in row)) for name, row in rows.items())
    return Numbers(caption="Loss in nats per token", columns=("model", *labels), rows=cells)
