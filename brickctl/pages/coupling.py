"""What the other skills lose when one brick is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts, reading
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.levels import NOISE, changes
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
    heard = _above_noise(section, values, labels)
    return Figure(
        name="bricks-coupling",
        title="What is lost without one brick",
        says=_says(heard, bricks, labels),
        caveat=(
            "A brick that is removed takes its interference along: where a loss falls, it stood in the way."
            f" A change of less than {NOISE:g} nats has no colour: of a skill that has hardly any loss it is no share."
        ),
        panels=(_panel(values, heard, bricks, labels),),
        tables=_tables(section, values, bricks, labels),
    )


def _above_noise(section: Table, values: Matrix, labels: Sequence[str]) -> Matrix:
    """The changes, 0 where the losses that they compare are nearly the same; all of them where no losses are there."""
    before, without = reading.row(section, "all", len(labels)), reading.matrix(section, "without", len(labels))
    if not before or len(without) != len(values):
        return values
    losses = [list(zip(row, before, strict=True)) for row in without]
    return tuple(
        tuple(0.0 if _is_noise(*losses[at][column]) else value for column, value in enumerate(row))
        for at, row in enumerate(values)
    )


def _is_noise(after: float | None, before: float | None) -> bool:
    return after is not None and before is not None and abs(after - before) < NOISE


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


def _panel(values: Matrix, heard: Matrix, bricks: Sequence[str], labels: Sequence[str]) -> Panel:
    drawn = [
        charts.Cell(row=bricks[at], column=labels[column], value=heard[at][column] or 0.0, text=bare_change(value))
        for at, row in enumerate(values)
        for column, value in enumerate(row)
        if value is not None
    ]
    grid = charts.Grid(rows=tuple(bricks), columns=tuple(labels), row_title="removed", column_title="measured")
    size = (_CELL[0] * len(labels), _CELL[1] * len(bricks))
    title = "Change of loss in per cent"
    words = _says(heard, bricks, labels)
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
