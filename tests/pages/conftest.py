"""Pages that several tests look at, and the browser in which they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.pages.analysis import page
from tests.support.analyses import analysis
from tests.support.browser import WIDE, browser_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def whole() -> str:
    """The page of a model of 30 layers, every section there."""
    return page(analysis())


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])  # CI is root
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page, given as text or as a file, and notes in `seen` what it says and asks for."""
    context = chromium.new_context()

    def visited(text: str | Path, *, width: int = WIDE, scheme: str = "light") -> Any:
        file = text if isinstance(text, Path) else tmp_path / "report.html"
        if isinstance(text, str):
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
