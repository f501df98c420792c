"""The report of an analysis: one HTML file that needs nothing else, and its plots as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.pages import drawing, reading
from brickctl.pages.rendering import render
from brickctl.pages.sections import sections
from brickctl.pages.summary import summary

if TYPE_CHECKING:
    from collections.abc import Mapping


def page(document: Mapping[str, Any]) -> str:
    """The report as one HTML file: no script, no request, in light and dark. Equal documents give equal pages.

    Raises:
        UsageFault: the document is no analysis, or one of another schema.
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    return render("analysis.html.jinja", summary=summary(reading.opened(document)), sections=sections(document))


def pictures(document: Mapping[str, Any]) -> dict[str, bytes]:
    """The plots of each figure as a PNG, by the name of its file: `sparsity-energy.png`.

    Raises:
        UsageFault: the document is no analysis, or one of another schema.
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    figures = [figure for section in sections(document) for figure in section.figures]
    return {f"{figure.name}.png": drawing.png(figure.panels, figure.title) for figure in figures}
