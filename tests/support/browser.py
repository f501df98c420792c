"""The Chromium that tests of pages drive: `.ci/browser` brings one, or the system has one."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import pytest

_NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "chrome")


def browser_path() -> str | None:
    """The program that BRICKCTL_TEST_BROWSER names, or one that the system has; None where there is none."""
    named = os.environ.get("BRICKCTL_TEST_BROWSER")
    return named or next((path for name in _NAMES if (path := shutil.which(name)) is not None), None)


needs_browser = pytest.mark.skipif(
    browser_path() is None or find_spec("playwright") is None,
    reason="needs playwright, and a Chromium: set BRICKCTL_TEST_BROWSER to what `.ci/browser FOLDER` prints",
)
