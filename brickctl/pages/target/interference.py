"""How much the bricks of a merge are in each other's way: each pair as a map, as numbers, with what to try first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.pages import charts
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.levels import Levels, shares
from brickctl.pages.numerals import UNKNOWN, several
from brickctl.pages.target.parts import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brickctl.pages.target.contents import Pair

_LEAD = (
    "Told by the deltas of the bricks alone, at weight 1, before anything is merged. Of sixteen pairs that were"
    " measured those kept most that together go least far from their base; cosines and overlaps promised nothing. What"
    " a merge keeps, only a check says. `brickctl diff` tells it layer by layer."
)
_MOST_NAMED = 6
"""Bricks whose names stand above the columns and whose figures stand in the cells; more are numbered."""

_MOST_ADVICE = 6
"""Pairs whose advice is shown at once."""

_NAMED_CELL = (38, 26)  # pixels
_WIDTH, _ROW = 230, 15  # pixels of a map of many bricks, and of its rows
_MOST_TICKS = 8


def interference(pairs: Sequence[Pair]) -> Part:
    """The maps of how far pairs go and of their cosines, and all figures with the advice."""
    bricks = tuple(dict.fromkeys(name for pair in pairs for name in (pair.one, pair.other)))
    many = len(pairs) > _MOST_ADVICE
    furthest = max(pair.together for pair in pairs) or 1.0
    return Part(
        name="interference",
        title="Interference",
        lead=_LEAD,
        says=_says(pairs),
        tables=() if many else (_advice(pairs), *(() if len(pairs) > 1 else (_numbers(pairs),))),
        more=(_advice(pairs),) if many else (),
        figures=()
        if len(pairs) == 1
        else (
            Figure(
                name="interference-map",
                title="Each brick beside each other",
                says="Of two bricks with a cosine near 1 one is enough; below 0 each takes away what the other adds.",
                panels=(
                    _panel(_JOINT, bricks, pairs, lambda pair: pair.together / furthest),
                    _panel(_COSINE, bricks, pairs, lambda pair: pair.cosine),
                ),
                tables=(_numbers(pairs),),
            ),
        ),
    )


def _says(pairs: Sequence[Pair]) -> str:
    advised: dict[str, int] = {}
    for pair in pairs:
        advised[pair.advice] = advised.get(pair.advice, 0) + 1
    told = ", ".join(f"`{action}` for {several(count, 'pair')}" for action, count in sorted(advised.items()))
    if len(pairs) == 1:
        return f"To try first: {told}."
    least = min(pairs, key=lambda pair: pair.together)
    return f"To try first: {told}. Together, {least.one} and {least.other} go least far from the base."


def _advice(pairs: Sequence[Pair]) -> Numbers:
    columns = ("bricks", "try first", "because")
    rows = tuple((f"{one.one}, {one.other}", one.advice, "; ".join(one.reasons).replace("`", "")) for one in pairs)
    return Numbers(caption="Advice", columns=columns, rows=rows, words=columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Map:
    """What a map shows: its title, the levels of its colours, and how a value stands in a cell."""

    title: str
    levels: Levels
    text: Callable[[float], str]


def _panel(map_: _Map, bricks: Sequence[str], pairs: Sequence[Pair], of: Callable[[Pair], float | None]) -> Panel:
    """A cell for each two bricks, on both sides of the diagonal."""
    few = len(bricks) <= _MOST_NAMED
    rows = {name: name if few else f"{number} {name}" for number, name in enumerate(bricks, 1)}
    columns = {name: name if few else str(number) for number, name in enumerate(bricks, 1)}
    drawn = [
        charts.Cell(row=rows[row], column=columns[column], value=value, text=map_.text(value) if few else "")
        for pair in pairs
        if (value := of(pair)) is not None
        for row, column in ((pair.one, pair.other), (pair.other, pair.one))
    ]
    words = f"{map_.title}, {several(len(pairs), 'pair')} of {several(len(bricks), 'brick')}: see the table below."
    spec = charts.cells(drawn, _grid(rows, columns, few=few), map_.levels, size=_size(len(bricks)))
    return Panel(title=map_.title, describes=words, spec=spec)


def _grid(rows: Mapping[str, str], columns: Mapping[str, str], *, few: bool) -> charts.Grid:
    across = tuple(columns.values())
    ticks = None if few else across[:: max(1, -(-len(across) // _MOST_TICKS))]
    return charts.Grid(rows=tuple(rows.values()), columns=across, row_title="", column_title="", column_ticks=ticks)


def _size(bricks: int) -> tuple[int, int]:
    if bricks <= _MOST_NAMED:
        return _NAMED_CELL[0] * bricks, _NAMED_CELL[1] * bricks
    return _WIDTH, _ROW * bricks


def _numbers(pairs: Sequence[Pair]) -> Numbers:
    columns = (
        "bricks",
        "cosine",
        "reads",
        "writes",
        "sign conflicts",
        "norm of the first",
        "of the second",
        "together",
    )
    rows = tuple(
        (
            f"{one.one}, {one.other}",
            *map(_figure, (one.cosine, one.reads, one.writes, one.conflicts)),
            *(f"{norm:.3g}" for norm in (*one.norms, one.together)),
        )
        for one in pairs
    )
    return Numbers(caption="Each pair", columns=columns, rows=rows)


def _figure(value: float | None) -> str:
    """Two places, with a true minus, and no minus before what is rounded to zero."""
    if value is None:
        return UNKNOWN
    text = f"{abs(value):.2f}"
    return f"\N{MINUS SIGN}{text}" if value < 0 and float(text) else text


_JOINT = _Map(
    title="Joint norm in % of the largest",
    levels=shares((0.2, 0.4, 0.6, 0.8)),
    text=lambda value: f"{100 * value:.0f}",
)
_COSINE = _Map(
    title="Cosine of the deltas",
    levels=Levels(
        bounds=(-0.2, -0.05, 0.05, 0.2, 0.5),
        names=("below \N{MINUS SIGN}0.2", "to \N{MINUS SIGN}0.05", "about 0", "to 0.2", "to 0.5", "from 0.5"),
        shades=("less-1", "less-0", "even", "more-1", "more-3", "more-5"),
    ),
    text=_figure,
)
