"""What the target can do, beside its base and each of its bricks, as far as it was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages import charts
from brickctl.pages.figure import Figure, Numbers, Panel
from brickctl.pages.levels import shares
from brickctl.pages.numerals import UNKNOWN, listed, several
from brickctl.pages.target.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.pages.target.contents import Report, Score, Skills

_LEAD = "A brick is measured on the base, alone and with weight 1; a merge that keeps its skill stands near it."
_LEVELS = shares((0.1, 0.25, 0.5, 0.75, 0.9, 0.99))
_CELL = (44, 26)  # pixels
_MOST_COLUMNS = 6
"""Checks beside one another that can be read on a narrow screen."""

_MEASURE = "run `brickctl test --bricks`"


def skills(report: Report, known: Skills) -> Part:
    """The table of skills, which gates were missed and by which examples, and what was not measured."""
    rows = tuple((model, *_cells(known, model)) for model in known.models)
    columns = ("model", *(check.name for check in known.checks))
    bars = tuple(_bar_row(known))
    examples = tuple((score.check, words) for score in _missed(known) for words in score.worst)
    return Part(
        name="skills",
        title="Skills",
        says=_says(report, known),
        lead=_LEAD,
        warnings=tuple(_misses(known)),
        tables=(
            Numbers(caption="Skills", columns=columns, rows=rows),
            *((_examples(examples),) if examples else ()),
        ),
        more=(Numbers(caption="Checks", columns=_CHECKS, rows=bars, words=_CHECKS[1:]),),
        figures=tuple(_map(known)),
    )


_CHECKS = ("check", "kind", "target", "bar", "measured on")


def _bar_row(known: Skills) -> Iterator[tuple[str, ...]]:
    for check in known.checks:
        counts = sorted({score.count for score in known.scores if score.check == check.name})
        yield (check.name, check.kind, check.target, check.bar or UNKNOWN, ", ".join(map(str, counts)) or UNKNOWN)


def _examples(rows: tuple[tuple[str, str], ...]) -> Numbers:
    columns = ("check", "example")
    return Numbers(caption="Examples that speak against it", columns=columns, rows=rows, words=columns)


def _cells(known: Skills, model: str) -> Iterator[str]:
    for check in known.checks:
        score = _of(known, check.name, model)
        missed = score is not None and score.passed is False
        yield UNKNOWN if score is None else f"{score.words} (missed)" if missed else score.words


def _of(known: Skills, check: str, model: str) -> Score | None:
    return next((one for one in known.scores if (one.check, one.model) == (check, model)), None)


def _missed(known: Skills) -> list[Score]:
    return [score for score in known.scores if score.passed is False]


def _says(report: Report, known: Skills) -> str:
    gates = [score for score in known.scores if score.passed is not None]
    missing = [one for one in known.models if any(_of(known, check.name, one) is None for check in known.checks)]
    rest = f" Not measured in all: {listed(missing)}; {_MEASURE}." if missing else ""
    if not gates:
        return f"Nothing was measured yet of {report.target}, as it would be built now: {_MEASURE}."
    passed = sum(score.passed is True for score in gates)
    return f"{report.target} keeps to {passed} of {several(len(gates), 'bar')}.{rest}"


def _misses(known: Skills) -> Iterator[str]:
    bars = {check.name: check.bar for check in known.checks}
    for score in _missed(known):
        bar = f", and the bar is {bars[score.check]}" if bars[score.check] else ""
        yield f"{score.check} missed its bar: {score.model} reached {score.words}{bar}."


def _map(known: Skills) -> Iterator[Figure]:
    """The shares as colours, where there are some."""
    columns = [check.name for check in known.checks if check.share]
    found = [score for score in known.scores if score.check in columns]
    if len(found) < 2 or not columns:  # noqa: PLR2004 - one alone is compared with nothing
        return
    panels = tuple(
        _panel(known, columns[begin : begin + _MOST_COLUMNS]) for begin in range(0, len(columns), _MOST_COLUMNS)
    )
    yield Figure(name="skills-map", title="Models side by side", says=_lost(known, found), panels=panels)


def _lost(known: Skills, found: Sequence[Score]) -> str:
    """How much of the best of its bricks the target keeps, where it keeps least."""
    target, losses = known.models[0], []
    for score in found:
        alone = [one for one in found if one.check == score.check and one.model != target]
        if score.model == target and alone:
            best = max(alone, key=lambda one: one.value)
            losses.append((best.value - score.value, score, best))
    if not losses:
        return "Nothing was measured of the target beside its base and its bricks."
    loss, score, best = max(losses, key=lambda one: one[0])
    if loss <= 0:
        return f"{target} is nowhere below the best of its base and its bricks."
    return f"{target} loses most in {score.check}: {score.words}, where {best.model} alone has {best.words}."


def _panel(known: Skills, columns: list[str]) -> Panel:
    drawn = [
        charts.Cell(
            row=score.model,
            column=score.check,
            value=score.value,
            text=f"{100 * score.value:.0f}",
            marked=score.passed is False,
        )
        for score in known.scores
        if score.check in columns
    ]
    grid = charts.Grid(rows=known.models, columns=tuple(columns), row_title="", column_title="")
    size = (_CELL[0] * len(columns), _CELL[1] * len(known.models))
    words = f"Shares that {several(len(known.models), 'model')} reached in {listed(columns)}: see the table above."
    spec = charts.cells(drawn, grid, _LEVELS, size=size)
    framed = "; a frame is a bar that was missed" if any(cell.marked for cell in drawn) else ""
    return Panel(title=f"Share in per cent{framed}", describes=words, spec=spec)
