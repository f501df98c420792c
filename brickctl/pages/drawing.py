"""Plots as SVG and as PNG, drawn by Vega-Lite: no browser, no network, no window.

vl-convert was chosen over matplotlib because a specification is data, and its colours may be names: one drawing serves
light and dark. Measured: it imports at once (matplotlib 0.65 s), draws the first plot after 0.6 s and each further one
in 0.05 s, and is one wheel of 33 MB that needs no other (matplotlib: ten wheels, 25 MB beside NumPy). The specification
is written by hand, not by altair, which would bring five packages in order to write the same dictionaries.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from brickctl.errors import Unsupported
from brickctl.pages.colours import named, resolved

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from brickctl.pages.figure import Panel, Spec

_SVG = "http://www.w3.org/2000/svg"
_OF_THE_WHOLE = ("$schema", "background", "config")
_PIXELS_A_POINT = 2.0
_ABREAST = 3
_OF_NO_USE = re.compile(r"aria-.*|role|class|pointer-events|version")
_LONG = re.compile(r"(\.\d\d)\d+")


def missing_package(error: ImportError) -> Unsupported:
    """The error about a package that is not installed, to be raised by the caller."""
    cause = f"the package `{error.name}` is missing"
    return Unsupported("a report needs more packages", causes=(cause,), hint="`pip install 'brickctl[report]'`")


def svg(panel: Panel) -> str:
    """A panel as an element of a page, whose colours the page's style sheet decides.

    Raises:
        Unsupported: the library is not installed.
    """
    root = _drawn(panel.spec)
    root.set("role", "img")
    root.set("aria-label", panel.describes)
    return ET.tostring(root, encoding="unicode")


def png(panels: Sequence[Panel], title: str) -> bytes:
    """Panels beside one another below a title, as a picture in light colours.

    Raises:
        Unsupported: the library is not installed.
    """
    root = _drawn(_together(panels, title))
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, resolved(value))
    picture: bytes = _library().svg_to_png(ET.tostring(root, encoding="unicode"), scale=_PIXELS_A_POINT)
    return picture


def _drawn(spec: Spec) -> ET.Element:
    """The drawing, without what only a drawing that moves would need, and with coordinates of two decimal places.

    Nothing in it has an id: several drawings on one page could not tell theirs apart.
    """
    text: str = _library().vegalite_to_svg(spec, allowed_base_urls=[])
    root = ET.fromstring(text)  # noqa: S314 - what the library has written just now
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        kept = {key: value for key, value in element.attrib.items() if not _OF_NO_USE.fullmatch(key)}
        element.attrib.clear()
        element.attrib.update({key: _LONG.sub(r"\1", value) for key, value in kept.items()})
    root.set("xmlns", _SVG)
    return root


def _together(panels: Sequence[Panel], title: str) -> dict[str, Any]:
    """One plot of several, as square as may be where there are more than three; each keeps its own scales."""
    first, columns = panels[0].spec, len(panels) if len(panels) <= _ABREAST else math.ceil(math.sqrt(len(panels)))
    parts = [{key: part for key, part in panel.spec.items() if key not in _OF_THE_WHOLE} for panel in panels]
    titles = [{"text": panel.title, "fontWeight": "normal"} for panel in panels]
    return {
        **{key: first[key] for key in _OF_THE_WHOLE},
        "background": named("surface"),
        "padding": 20,
        "title": {"text": title, "fontSize": 16},
        "concat": [{"title": above, **part} for above, part in zip(titles, parts, strict=True)],
        "columns": columns,
        "spacing": 32,
        "resolve": {"scale": {"color": "independent", "strokeDash": "independent"}},
    }


def _library() -> ModuleType:
    try:
        import vl_convert
    except ImportError as error:
        raise missing_package(error) from None
    return vl_convert
