"""What the other skills lose when one brick is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts, reading
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.levels import changes
from brickctl.pages.numerals import bare_change, change, decimal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.document import Table
    from brickctl.pages.reading import Matrix

_CELL = (60, 30)


def coupling(section: Table) -> Figure | None:
    """The change of every label's loss when one brick is taken out of the set."""
    bricks, labels = reading.names(section, "bricks"), reading.names(section, "labels")
    if not bricks or not labels:
        return None
    values = reading.matrix(section, "coupling", len(labels))
    if len(values) != len(bricks) or not any(value is not None for row in values for value in row):
        return None
    return Figure(
        name="bricks-coupling",
        title="What is lost without one brick",
        says=_says(values, bricks, labels),
        caveat="A brick that is removed takes its interference along: where a loss falls, it stood in the way.",
        panels=(_panel(values, bricks, labels),),
        tables=_tables(section, values, bricks, labels),
    )


def _says(values: Matrix, bricks: Sequence[str], labels: Sequence[str]) -> str:
    found = [
        (value, bricks[at], labels[column])
        for at, row in enumerate(values)
        for column, value in enumerate(row)
        if value is not None
    ]
    (most, brick, label), (least, other, freed) = max(found), min(found)
    lost = f"The strongest tie: without {brick}, the loss of {label} changes by {change(most)}."
    won = f" The strongest interference: without {other}, that of {freed} changes by {change(least)}."
    return lost + (won if least < 0 else "")


def _panel(values: Matrix, bricks: Sequence[str], labels: Sequence[str]) -> Panel:
    drawn = [
        charts.Cell(row=bricks[at], column=labels[column], value=value, text=bare_change(value))
        for at, row in enumerate(values)
        for column, value in enumerate(row)
        if value is not None
    ]
    grid = charts.Grid(rows=tuple(bricks), columns=tuple(labels), row_title="removed", column_title="measured")
    size = (_CELL[0] * len(labels), _CELL[1] * len(bricks))
    title = "Change of loss in per cent"
    words = _says(values, bricks, labels)
    return Panel(title=title, describes=words, spec=charts.cells(drawn, grid, changes(), size=size))


def _tables(section: Table, values: Matrix, bricks: Sequence[str], labels: Sequence[str]) -> tuple[Numbers, ...]:
    columns = ("removed", *labels)
    rows = tuple((brick, *(change(value) for value in row)) for brick, row in zip(bricks, values, strict=True))
    coupled = Numbers(caption="Change of loss", columns=columns, rows=rows)
    without = reading.matrix(section, "without", len(labels))
    if len(without) != len(bricks):
        return (coupled,)
    losses = tuple((brick, *(decimal(value) for value in row)) for brick, row in zip(bricks, without, strict=True))
    return (coupled, Numbers(caption="Loss without the brick, in nats per token", columns=columns, rows=losses))
