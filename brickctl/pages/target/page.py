"""The report of a target as one HTML file that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.sizes import format_size
from brickctl.pages.figure import Numbers
from brickctl.pages.numerals import count, several
from brickctl.pages.rendering import render
from brickctl.pages.target.contents import BUILT, NOT_BUILT
from brickctl.pages.target.graph import graph
from brickctl.pages.target.interference import interference
from brickctl.pages.target.licenses import licenses
from brickctl.pages.target.parts import Part
from brickctl.pages.target.provenance import provenance
from brickctl.pages.target.sizes import sizes
from brickctl.pages.target.skills import skills
from brickctl.pages.target.weights import weights

if TYPE_CHECKING:
    from brickctl.pages.target.contents import Report, Step


def page(report: Report) -> str:
    """The report as one HTML file: no script, no request, in light and dark. Equal reports give equal pages.

    Raises:
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    return render("target.html.jinja", report=report, summary=_summary(report), parts_of_page=_parts(report))


def _summary(report: Report) -> tuple[tuple[str, str], ...]:
    """The few facts that stand above everything else."""
    change = report.change
    facts = [("Base", f"{report.base.source} {report.base.revision}"), ("Bricks", count(len(report.bricks)))]
    facts += [("State", {BUILT: "built", NOT_BUILT: "not built yet"}.get(report.artifact.state, "out of date"))]
    if change is not None:
        facts.append(("Parameters", count(change.after.parameters)))
    if report.artifact.files:
        facts.append(("On disk", format_size(report.artifact.bytes)))
    return (*facts, ("Licence", report.license))


def _parts(report: Report) -> tuple[Part, ...]:
    found = weights(report)
    lead = "What each merge takes of each brick, from the first layer (0) to the last."
    over_depth = (Part(name="weights", title="Weights by layer", lead=lead, figures=found),) if found else ()
    known = () if report.skills is None else (skills(report, report.skills),)
    paired = (interference(report.pairs),) if report.pairs else ()
    return (_recipe(report), *known, *paired, *over_depth, licenses(report), provenance(report), sizes(report))


def _recipe(report: Report) -> Part:
    rows = tuple(row for number, step in enumerate(report.steps, 1) for row in _rows(number, step))
    columns = ("step", "target", "operation", "brick", "parameters")
    state = {
        BUILT: f"Built into {report.artifact.folder}.",
        NOT_BUILT: f"Not built yet: `brickctl build {report.target}` makes it.",
    }.get(report.artifact.state, f"{report.artifact.folder} was built of another lock or recipe.")
    steps = f"{several(len(report.steps), 'step')} and {several(len(report.bricks), 'brick')}."
    return Part(
        name="recipe",
        title="Recipe",
        says=f"{steps} {state}",
        warnings=report.notes,
        drawing=graph(report),
        more=(Numbers(caption="Steps", columns=columns, rows=rows, words=columns[1:]),) if rows else (),
    )


def _rows(number: int, step: Step) -> tuple[tuple[str, ...], ...]:
    own = ((str(number), step.target, step.title, "", ", ".join(step.words)),)
    return own + tuple((str(number), step.target, step.title, use.brick, ", ".join(use.words)) for use in step.uses)
