"""The report of a target where it is read: narrow and wide, light and dark, with a keyboard alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from brickctl.pages.target.page import page
from tests.support.browser import NARROW, WIDE, hard_to_read, needs_browser, out_of_reach
from tests.support.target_reports import report, with_skills_and_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = needs_browser

MOST_SHRUNK = 0.9
"""Plots are drawn with letters of 12 pixels."""


@pytest.fixture(scope="module")
def many() -> str:
    """A page of more bricks than have their names above columns."""
    return page(with_skills_and_pairs(report(9)))


@pytest.mark.parametrize(("width", "scheme"), [(NARROW, "dark"), (WIDE, "light")])
def test_it_can_be_read_and_walked_through(many: str, visit: Callable[..., Any], width: int, scheme: str) -> None:
    tab = visit(many, width=width, scheme=scheme)
    assert [url.rpartition("/")[2] for url in tab.seen] == ["report.html"]  # nothing said, nothing else asked for
    assert hard_to_read(tab) == []
    assert out_of_reach(tab) == []
    shrunk = tab.evaluate(
        "[...document.querySelectorAll('figure svg')].map(one => one.clientWidth / one.getAttribute('width'))"
    )
    assert min(shrunk) > MOST_SHRUNK
    tab.emulate_media(media="print", color_scheme=scheme)
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.locator("svg.graph").is_visible()
