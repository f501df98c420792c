"""How large everything is, and what of the base becomes something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.sizes import format_size
from brickctl.pages import charts
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.levels import Levels
from brickctl.pages.numerals import UNKNOWN, count, percent, several
from brickctl.pages.target.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.pages.target.contents import Amount, Artifact, Brick, Change, Report

_BECAME = ("unchanged", "changed", "added")
_LEVELS = Levels(bounds=(0.5, 1.5), names=_BECAME, shades=("even", "ramp-5", "more-3"))
_ROW = 17  # pixels
_WIDTH = 240  # pixels
_MOST_TICKS = 8
_MOST_MODULES = 40
_MOST_OUTSIDE = 4


def sizes(report: Report) -> Part:
    """Sizes of the bricks and of the artifact, and a map of what changes."""
    everyone = (report.base, *report.bricks)
    bricks = Numbers(
        caption="Bricks",
        columns=("brick", "kind", "parameters", "on disk"),
        rows=tuple(map(_row, everyone)),
        words=("kind",),
    )
    files = () if not report.artifact.files else (_files(report.artifact),)
    change = report.change
    return Part(
        name="sizes",
        title="Sizes and changes",
        says="" if change is None else _says(change),
        tables=(bricks, *(() if change is None else (_amounts(change),))),
        more=files,
        figures=() if change is None or not change.spots else (_map(change),),
    )


def _row(brick: Brick) -> tuple[str, ...]:
    size = UNKNOWN if brick.size is None else format_size(brick.size)
    return (brick.name, brick.kind or UNKNOWN, count(brick.parameters), size)


def _files(artifact: Artifact) -> Numbers:
    rows = tuple((path, "missing" if size is None else format_size(size)) for path, size in artifact.files)
    return Numbers(caption=f"Files of {artifact.folder}", columns=("file", "size"), rows=rows)


def _says(change: Change) -> str:
    share = change.changed.parameters / change.before.parameters if change.before.parameters else 0.0
    parts = [f"{count(change.changed.tensors)} of {several(change.before.tensors, 'tensor')} of the base change"]
    parts[0] += f", which are {percent(share)} of its parameters" if change.changed.tensors else ""
    parts += [f"{several(change.added.tensors, 'tensor')} {_are(change.added)} new"] if change.added.tensors else []
    parts += [f"{several(change.gone.tensors, 'tensor')} {_are(change.gone)} gone"] if change.gone.tensors else []
    parts += [f"{count(change.beside)} parameters are stored beside the model"] if change.beside else []
    return f"{'; '.join(parts)}."


def _are(amount: Amount) -> str:
    return "is" if amount.tensors == 1 else "are"


def _amounts(change: Change) -> Numbers:
    rows = (
        ("base", change.before),
        ("target", change.after),
        ("changed", change.changed),
        *((("new", change.added),) if change.added.tensors else ()),
        *((("gone", change.gone),) if change.gone.tensors else ()),
    )
    cells = tuple((name, count(one.tensors), count(one.parameters), format_size(one.bytes)) for name, one in rows)
    return Numbers(caption="Weights", columns=("what", "tensors", "parameters", "size"), rows=cells)


def _map(change: Change) -> Figure:
    modules = tuple(dict.fromkeys(spot.module for spot in change.spots))
    shown = modules[:_MOST_MODULES]
    return Figure(
        name="changes",
        title="Where the base changes",
        says=_where(change, modules),
        caveat=_caveat(change, len(modules) - len(shown)),
        panels=(_panel(change, shown),),
        tables=(_by_module(change, modules),),
    )


def _where(change: Change, modules: tuple[str, ...]) -> str:
    touched = {spot.module: None for spot in change.spots if spot.became != _BECAME[0]}
    said = f"{len(touched)} of {several(len(modules), 'kind')} of tensor in the layers change somewhere."
    outside = change.outside
    named = ", ".join(outside[:_MOST_OUTSIDE]) + (", ..." if len(outside) > _MOST_OUTSIDE else "")
    return f"{said} Outside of the layers: {named}." if outside else f"{said} Nothing outside of the layers does."


def _caveat(change: Change, left: int) -> str:
    parts = ["A tensor counts as changed where the build computes it, by however little."]
    if change.restacked:
        parts.append("A step gave layers other numbers: a name no longer means the same tensor as in the base.")
    if left:
        parts.append(f"{several(left, 'further kind')} of tensor are in the table only.")
    return " ".join(parts)


def _panel(change: Change, modules: tuple[str, ...]) -> Panel:
    layers = tuple(map(str, sorted({spot.layer for spot in change.spots})))
    drawn = [
        charts.Cell(row=spot.module, column=str(spot.layer), value=_BECAME.index(spot.became))
        for spot in change.spots
        if spot.module in modules
    ]
    step = max(1, -(-len(layers) // _MOST_TICKS))
    grid = charts.Grid(rows=modules, columns=layers, row_title="", column_title="layer", column_ticks=layers[::step])
    spec = charts.cells(drawn, grid, _LEVELS, size=(_WIDTH, _ROW * len(modules)))
    words = "Which tensors of which layers change: see the table below."
    return Panel(title="Tensors by layer", describes=words, spec=spec)


def _by_module(change: Change, modules: tuple[str, ...]) -> Numbers:
    return Numbers(
        caption="Layers in which a tensor changes",
        columns=("tensor", *_BECAME),
        rows=tuple((module, *_counts(change, module)) for module in modules),
    )


def _counts(change: Change, module: str) -> Iterator[str]:
    found = [spot.became for spot in change.spots if spot.module == module]
    yield from (count(found.count(word)) for word in _BECAME)
