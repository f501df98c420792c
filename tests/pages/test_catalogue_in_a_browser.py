"""A site of a registry in a browser, from a disk: searched as one types, by keyboard alone, without a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from brickctl.pages.catalogue.about import About
from brickctl.pages.catalogue.site import ON_A_PAGE, site
from tests.pages.test_catalogue import HOSTILE, hostile_entry
from tests.support.browser import NARROW, WIDE, hard_to_read, needs_browser, out_of_reach
from tests.support.catalogues import many_bricks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needs_browser

COUNT = 250
SHOWN = "[...document.querySelectorAll('#list h2 a')].map(one => one.textContent)"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of 250 bricks and a hostile one."""
    folder = tmp_path_factory.mktemp("site")
    for path, content in site([*many_bricks(COUNT), (hostile_entry(),)], About(title="Bricks", name="team")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def status(tab: Any) -> str:
    return str(tab.locator("#status").inner_text())


@pytest.mark.parametrize(("width", "scheme"), [(NARROW, "dark"), (WIDE, "light")])
def test_the_list_is_searched_as_one_types(place: Path, visit: Callable[..., Any], width: int, scheme: str) -> None:
    tab = visit(place / "index.html", width=width, scheme=scheme)
    assert tab.evaluate(SHOWN)[0].startswith("acme/")
    assert status(tab) == "1 to 100 of 251 bricks"
    assert hard_to_read(tab) == []
    assert out_of_reach(tab) == []
    tab.locator("input[name=words]").focus()
    tab.keyboard.type("00012")
    tab.wait_for_function("document.querySelectorAll('#list li').length < 100")
    assert [name.rpartition("-")[2] for name in tab.evaluate(SHOWN)] == ["00012"]
    assert status(tab) == "1 of 251 bricks"
    assert tab.url.endswith("#words=00012")
    tab.locator("input[name=words]").fill("")
    assert status(tab) == "1 to 100 of 251 bricks"
    tab.locator("select[name=kind]").select_option("adapter")
    tab.locator("select[name=license]").select_option("MIT")
    tab.wait_for_function("document.getElementById('pages').hidden")
    of_both = [number for number in range(COUNT) if number % 3 == 0 and number % 4 == 1]
    assert status(tab) == f"{len(of_both)} of 251 bricks"
    own = {url.rpartition("/")[2].partition("#")[0] for url in tab.seen}
    assert own <= {"index.html", "style.css", "search.js", "catalogue.js"}


def test_a_search_can_be_sent_and_goes_on_from_the_keyboard(place: Path, visit: Callable[..., Any]) -> None:
    tab = visit(place / "index.html")
    tab.goto(f"{(place / 'index.html').as_uri()}#words=questions")
    tab.wait_for_function("document.getElementById('status').textContent.includes(' of 251 bricks')")
    tab.wait_for_function("!document.getElementById('more').hidden")
    assert tab.locator("input[name=words]").input_value() == "questions"
    tab.locator("#more").focus()
    tab.keyboard.press("Enter")
    assert len(tab.evaluate(SHOWN)) == 2 * ON_A_PAGE
    assert tab.evaluate("document.activeElement.textContent") == tab.evaluate(SHOWN)[ON_A_PAGE]


def test_what_is_hostile_stays_text_in_results_and_on_its_page(place: Path, visit: Callable[..., Any]) -> None:
    tab = visit(place / "index.html")
    tab.locator("input[name=words]").fill("alert")
    tab.wait_for_function("document.querySelectorAll('#list li').length === 1")
    assert tab.locator("#list li p").first.text_content() == HOSTILE
    assert tab.locator("#list").locator("script, img").count() == 0
    tab.locator("#list a").click()
    assert tab.title() == "acme/sql: Bricks"
    assert HOSTILE in tab.text_content("main")
    assert not [words for words in tab.seen if not words.startswith("file:")]


@pytest.mark.parametrize(("width", "scheme"), [(NARROW, "light"), (WIDE, "dark")])
def test_the_page_of_a_brick_can_be_read_and_walked_through(
    place: Path, visit: Callable[..., Any], width: int, scheme: str
) -> None:
    tab = visit(place / "bricks/acme/sql.html", width=width, scheme=scheme)
    assert hard_to_read(tab) == []
    assert out_of_reach(tab) == []
    assert {url.rpartition("/")[2] for url in tab.seen} == {"sql.html", "style.css"}


def test_without_a_script_there_is_a_plain_list(place: Path, chromium: Any) -> None:
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((place / "index.html").as_uri())
    assert not tab.locator("form").is_visible()
    assert tab.locator("noscript").is_visible()
    assert tab.locator("#list li").count() == ON_A_PAGE
    tab.locator("#pages a").last.click()
    assert tab.locator("#list li").count() == COUNT + 1 - 2 * ON_A_PAGE
    context.close()
