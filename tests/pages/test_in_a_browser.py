"""The page where it is read: in a browser, narrow and wide, light and dark, with a keyboard alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from brickctl.pages.analysis import page
from tests.support.analyses import LABELS, analysis
from tests.support.browser import browser_path, needs_browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_browser

NARROW, WIDE = 400, 1400


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])  # CI is root
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    context = chromium.new_context()

    def visited(text: str, *, width: int = WIDE, scheme: str = "light") -> Any:
        file = tmp_path / "report.html"
        file.write_text(text, encoding="utf-8")
        tab = context.new_page()
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(color_scheme=scheme)
        tab.seen = []
        tab.on("console", lambda message: tab.seen.append(message.text))
        tab.on("pageerror", lambda error: tab.seen.append(str(error)))
        tab.on("request", lambda request: tab.seen.append(request.url))
        tab.goto(file.as_uri())
        return tab

    yield visited
    context.close()


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
