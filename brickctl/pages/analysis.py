"""The report of an analysis: one HTML file that needs nothing else, and its plots as pictures."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

from brickctl import __version__
from brickctl.pages import colours, drawing, reading
from brickctl.pages.sections import sections
from brickctl.pages.summary import summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    import jinja2

MOST_ROWS = 400
"""Rows of a table that a page shows; the document has them all."""


def page(document: Mapping[str, Any]) -> str:
    """The report as one HTML file: no script, no request, in light and dark. Equal documents give equal pages.

    Raises:
        UsageFault: the document is no analysis, or one of another schema.
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    templates = _templates()
    return templates.get_template("report.html.jinja").render(
        summary=summary(reading.opened(document)),
        sections=sections(document),
        light=colours.palette(dark=False),
        dark=colours.palette(dark=True),
        version=__version__,
        most_rows=MOST_ROWS,
    )


def pictures(document: Mapping[str, Any]) -> dict[str, bytes]:
    """The plots of each figure as a PNG, by the name of its file: `sparsity-energy.png`.

    Raises:
        UsageFault: the document is no analysis, or one of another schema.
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    figures = [figure for section in sections(document) for figure in section.figures]
    return {f"{figure.name}.png": drawing.png(figure.panels, figure.title) for figure in figures}


def _templates() -> jinja2.Environment:
    try:
        import jinja2
    except ImportError as error:
        raise drawing.missing_package(error) from None
    folder = resources.files("brickctl.pages") / "templates"
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8"))
    templates = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["svg"] = lambda panel: _trusted(drawing.svg(panel))
    return templates


def _trusted(text: str) -> Any:
    """Markup that is not escaped again: what the drawing has escaped already."""
    import markupsafe

    return markupsafe.Markup(text)  # noqa: S704 - names from outside are text nodes and attributes of XML by now
