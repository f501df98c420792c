"""The page where it is read: in a browser, narrow and wide, light and dark, with a keyboard alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from brickctl.pages.analysis import page
from tests.support.analyses import LABELS, analysis
from tests.support.browser import NARROW, WIDE, needs_browser

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = needs_browser


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_complains_of_nothing_and_asks_for_nothing(
    whole: str, visit: Callable[..., Any], width: int, scheme: str
) -> None:
    tab = visit(whole, width=width, scheme=scheme)
    own = [url for url in tab.seen if url.startswith("file:") and url.endswith("/report.html")]
    assert tab.seen == own
    assert len(own) == 1


def test_what_got_into_it_would_be_blocked(whole: str, visit: Callable[..., Any]) -> None:
    """And would be seen by the test above."""
    added = "<img src='http://127.0.0.1:9/x'><script>document.title = 'mine'</script>"
    tab = visit(whole.replace("</main>", f"{added}</main>"))
    assert sum("Content Security Policy" in words for words in tab.seen) == 2
    assert tab.title() == "SmolLM2-135M-Instruct: analysis"


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_nothing_is_wider_than_the_window(whole: str, visit: Callable[..., Any], width: int) -> None:
    tab = visit(whole, width=width)
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    shrunk = tab.evaluate(
        "[...document.querySelectorAll('svg')].map(one => one.clientWidth / one.getAttribute('width'))"
    )
    assert min(shrunk) > 0.75  # of 12 pixels


def test_long_names_do_not_widen_it(visit: Callable[..., Any]) -> None:
    labels = tuple(f"{label}-{'x' * 150}" for label in LABELS[:2])
    document = analysis(layers=2, labels=labels)
    document["model"]["name"] = "m" * 200
    tab = visit(page(document), width=NARROW)
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") == NARROW


def test_the_dark_page_is_dark_with_its_plots(whole: str, visit: Callable[..., Any]) -> None:
    shown = "one => getComputedStyle(document.querySelector(one))"

    def colours(scheme: str) -> tuple[str, str]:
        tab = visit(whole, scheme=scheme)
        return tab.evaluate(f"({shown})('body').backgroundColor"), tab.evaluate(f"({shown})('svg text').fill")

    light, dark = colours("light"), colours("dark")
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[0] == "rgb(23, 26, 32)"
    assert light[1] != dark[1]


def test_paper_is_white(whole: str, visit: Callable[..., Any]) -> None:
    tab = visit(whole, scheme="dark")
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not tab.locator("nav").is_visible()
    assert tab.locator("svg").first.is_visible()


def test_the_keyboard_reaches_the_findings_and_their_numbers(whole: str, visit: Callable[..., Any]) -> None:
    tab = visit(whole)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.tagName") == "SUMMARY"
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "scroll"
