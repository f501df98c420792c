"""Whether the neurons of two labels are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts, reading
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.levels import Levels, even_shares
from brickctl.pages.numerals import middle, percent, several

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.document import Table
    from brickctl.pages.reading import Matrix

_CELL = (46, 28)
_MEASURED = "Measured"
_NULL = "Labels permuted"


def overlap(section: Table) -> Figure | None:
    """The overlap of the top sets beside the overlap that permuted labels give, in the same colours."""
    labels = reading.names(section, "labels")
    if not labels:
        return None
    measured, null = (reading.square(section, key, len(labels)) for key in ("overlap", "null"))
    if not measured:
        return None
    share, random = section.number_or_none("share"), section.number_or_none("random")
    greatest = max((value for one in (measured, null) for value in _off_diagonal(one)), default=0.0)
    levels = even_shares(max(greatest, random or 0.0))
    found = ((_MEASURED, measured), (_NULL, null))
    return Figure(
        name="partition-overlap",
        title="How many neurons two labels share",
        says=_says(measured, null, share, random),
        caveat=_caveat(section, null),
        panels=tuple(_panel(title, one, labels, levels) for title, one in found if one),
        tables=tuple(_numbers(title, one, labels) for title, one in found if one),
    )


def _off_diagonal(values: Matrix) -> list[float]:
    return [
        value for at, row in enumerate(values) for column, value in enumerate(row) if at != column and value is not None
    ]


def _says(measured: Matrix, null: Matrix, share: float | None, random: float | None) -> str:
    found = _off_diagonal(measured)
    if not found:
        return "There is one label only: nothing to compare."
    shared = (
        f"The top {percent(share)} of neurons of two labels share {percent(min(found))} to {percent(max(found))},"
        f" {percent(middle(found))} in the median."
    )
    parts = [shared]
    if null:
        parts.append(f"With permuted labels, the median is {percent(middle(_off_diagonal(null)))}.")
    if random is not None:
        parts.append(f"Two random sets of that size share {percent(random)}.")
    return " ".join(parts)


def _caveat(section: Table, null: Matrix) -> str:
    exclusive = (
        "Labels that exclude each other push the overlap below that of random sets by construction:"
        " only the difference from permuted labels says something."
    )
    seeds = section.integer_or_none("seeds")
    if not null:
        return f"{exclusive} They were not measured here, so this figure alone proves nothing."
    return f"{exclusive} Mean of {several(seeds, 'permutation')}." if seeds else exclusive


def _panel(title: str, values: Matrix, labels: Sequence[str], levels: Levels) -> Panel:
    drawn = [
        charts.Cell(row=labels[at], column=labels[column], value=value, text=f"{100 * value:.1f}")
        for at, row in enumerate(values)
        for column, value in enumerate(row)
        if at != column and value is not None
    ]
    grid = charts.Grid(rows=tuple(labels), columns=tuple(labels), row_title="", column_title="")
    size = (_CELL[0] * len(labels), _CELL[1] * len(labels))
    median = percent(middle(_off_diagonal(values)))
    words = f"{title}: what the top sets of two labels share. {median} in the median."
    return Panel(title=f"{title}, in per cent", describes=words, spec=charts.cells(drawn, grid, levels, size=size))


def _numbers(title: str, values: Matrix, labels: Sequence[str]) -> Numbers:
    rows = tuple((label, *(percent(value) for value in row)) for label, row in zip(labels, values, strict=True))
    return Numbers(caption=title, columns=("label", *labels), rows=rows)
