"""Templates into pages: one frame and one look, and nothing from outside that is not escaped."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from brickctl import __version__
from brickctl.pages import colours, drawing

if TYPE_CHECKING:
    import jinja2

MOST_ROWS = 400
"""Rows of a table that a page shows; the document has them all."""


def check_packages() -> None:
    """Make sure that a page with plots can be made, before something is computed for it.

    Raises:
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    try:
        import jinja2  # noqa: F401 - only whether it is there
        import vl_convert  # noqa: F401 - as above
    except ImportError as error:
        raise drawing.missing_package(error) from None


def render(template: str, **values: Any) -> str:
    """A page of a template and of what it shows. Equal values give equal pages.

    Raises:
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    try:
        import jinja2  # noqa: F401 - so that whoever lacks it is told so
    except ImportError as error:
        raise drawing.missing_package(error) from None
    return _templates().get_template(template).render(values)


def render_text(template: str) -> str:
    """A style sheet or a script, which shows nothing from outside.

    Raises:
        Unsupported: as `render`.
    """
    return render(template)


@cache
def _templates() -> jinja2.Environment:
    """What templates know beside their own values: the colours, how to draw, and who made the page."""
    import jinja2

    folder = resources.files("brickctl.pages") / "templates"
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8"))
    templates = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.globals |= {
        "light": colours.palette(dark=False),
        "dark": colours.palette(dark=True),
        "version": __version__,
        "most_rows": MOST_ROWS,
    }
    templates.filters["svg"] = lambda panel: _trusted(drawing.svg(panel))
    templates.filters["prose"] = _prose
    templates.filters["element"] = lambda element: _trusted(ET.tostring(element, encoding="unicode"))
    return templates


def _prose(text: str) -> Any:
    """A sentence, with what stands between two backticks as code."""
    import markupsafe

    parts = [markupsafe.escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return markupsafe.escape(text)
    marked = [f"<code>{part}</code>" if at % 2 else str(part) for at, part in enumerate(parts)]
    return _trusted("".join(marked))


def _trusted(text: str) -> Any:
    """Markup that is not escaped again: what the drawing has escaped already."""
    import markupsafe

    return markupsafe.Markup(text)  # noqa: S704 - names from outside are text nodes and attributes of XML by now
