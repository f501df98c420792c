"""What is lost when the neurons of one label are pruned: the label itself, or everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts, reading
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.levels import changes
from brickctl.pages.numerals import change, decimal, listed, middle, percent, several, short_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.document import Table
    from brickctl.pages.reading import Row

_CELL = (44, 28)
_CONTROL, _GAP = charts.apart("random"), charts.apart("")


def perturbation(section: Table) -> Figure | None:
    """A matrix for each share that was pruned: rows pruned, columns measured, random pruning below."""
    labels = reading.names(section, "labels")
    if not labels:
        return None
    perplexity = reading.row(section, "perplexity", len(labels))
    shares = [one for one in reading.tables(section, "shares") if reading.square(one, "change", len(labels))]
    if not shares:
        return None
    return Figure(
        name="perturbation-pruning",
        title="What pruning the neurons of a label does",
        says=_all_say(shares, labels),
        caveat=f"{_caveat(shares, labels)}{_texts(section)}",
        panels=tuple(_panel(one, labels) for one in shares),
        tables=(*(_numbers(one, labels) for one in shares), *_dense(perplexity, labels)),
    )


def _all_say(shares: Sequence[Table], labels: Sequence[str]) -> str:
    """The first share in words; of the others only how many rows hold."""
    first, *others = shares
    if not others:
        return _says(first, labels)
    rest = (f"{_diagonal(one, labels)} at {percent(one.number_or_none('share'))}" for one in others)
    return f"{_says(first, labels)} So do {listed(rest)}."


def _says(one: Table, labels: Sequence[str]) -> str:
    values, control = reading.square(one, "change", len(labels)), reading.row(one, "control", len(labels))
    own = [row[at] for at, row in enumerate(values)]
    others = [value for at, row in enumerate(values) for column, value in enumerate(row) if column != at]
    first = _diagonal(one, labels)
    by_chance = f", by {change(middle(control))} with random ones" if control else ""
    return (
        f"At {percent(one.number_or_none('share'))} pruned, the perplexity of a label changes by {change(middle(own))}"
        f" in the median with its own neurons, by {change(middle(others))} with those of another label{by_chance};"
        f" {first} of {several(len(labels), 'row')} have their largest change on the diagonal."
    )


def _diagonal(one: Table, labels: Sequence[str]) -> int:
    """In how many rows the largest change is that of the label itself."""
    return sum(_is_greatest(row, at) for at, row in enumerate(reading.square(one, "change", len(labels))))


def _is_greatest(row: Row, at: int) -> bool:
    own = row[at]
    return own is not None and all(value is None or value <= own for value in row)


def _caveat(shares: Sequence[Table], labels: Sequence[str]) -> str:
    seeds = [value for one in shares for row in reading.matrix(one, "controls", len(labels)) for value in row]
    known = [value for value in seeds if value is not None]
    if not known:
        return "No random pruning was measured to compare with: a large change may be no more than chance."
    count = max(len(reading.matrix(one, "controls", len(labels))) for one in shares)
    over = f"{change(min(known))} to {change(max(known))} over {several(count, 'seed')}"
    return f"Random pruning is unstable, since a few giant neurons carry much: {over}; the median is shown."


def _texts(section: Table) -> str:
    """Whether neurons were chosen by the texts that are measured, where the document says so."""
    unseen = section.take("unseen")
    if not isinstance(unseen, bool):
        return ""
    if unseen:
        return " Neurons were scored on other texts than those that are measured."
    return " Neurons were scored on the very texts that are measured: how far that holds for others is not known."


def _panel(one: Table, labels: Sequence[str]) -> Panel:
    values, control = reading.square(one, "change", len(labels)), reading.row(one, "control", len(labels))
    drawn = [
        charts.Cell(row=labels[at], column=labels[column], value=value, text=short_change(value), marked=at == column)
        for at, row in enumerate(values)
        for column, value in enumerate(row)
        if value is not None
    ]
    drawn += [
        charts.Cell(row=_CONTROL, column=label, value=value, text=short_change(value))
        for label, value in zip(labels, control, strict=False)
        if value is not None
    ]
    rows = (*labels, _GAP, _CONTROL) if control else tuple(labels)
    grid = charts.Grid(rows=rows, columns=tuple(labels), row_title="pruned", column_title="measured")
    size = (_CELL[0] * len(labels), _CELL[1] * len(labels) + _CELL[1] * (len(rows) - len(labels)))
    title = f"{percent(one.number_or_none('share'))} pruned: change in per cent"
    return Panel(title=title, describes=_says(one, labels), spec=charts.cells(drawn, grid, changes(), size=size))


def _numbers(one: Table, labels: Sequence[str]) -> Numbers:
    values, control = reading.square(one, "change", len(labels)), reading.row(one, "control", len(labels))
    seeds = reading.matrix(one, "controls", len(labels))
    rows = [(label, *(change(value) for value in row)) for label, row in zip(labels, values, strict=True)]
    rows += [("random, median", *(change(value) for value in control))] if control else []
    rows += [(f"random, seed {at}", *(change(value) for value in row)) for at, row in enumerate(seeds)]
    caption = f"{percent(one.number_or_none('share'))} pruned: change of perplexity; rows pruned, columns measured"
    return Numbers(caption=caption, columns=("pruned", *labels), rows=tuple(rows))


def _dense(perplexity: Row, labels: Sequence[str]) -> tuple[Numbers, ...]:
    cells = (tuple(decimal(value, 2) for value in perplexity),)
    return (Numbers(caption="Perplexity before pruning", columns=tuple(labels), rows=cells),) if perplexity else ()
