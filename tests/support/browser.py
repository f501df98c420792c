"""The Chromium that tests of pages drive: `.ci/browser` brings one, or the system has one."""

from __future__ import annotations

import os
import re
import shutil
from importlib.util import find_spec
from typing import Any

import pytest

from brickctl.pages.colours import contrast

NARROW, WIDE = 400, 1400
"""Pixels of a telephone held upright, and of a screen."""

LEAST_CONTRAST = 4.5
"""Of text on what is behind it: https://www.w3.org/TR/WCAG22/#contrast-minimum."""

LEAST_LETTERS = 12
"""Pixels."""

_NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "chrome")


def browser_path() -> str | None:
    """The program that BRICKCTL_TEST_BROWSER names, or one that the system has; None where there is none."""
    named = os.environ.get("BRICKCTL_TEST_BROWSER")
    return named or next((path for name in _NAMES if (path := shutil.which(name)) is not None), None)


needs_browser = pytest.mark.skipif(
    browser_path() is None or find_spec("playwright") is None,
    reason="needs playwright, and a Chromium: set BRICKCTL_TEST_BROWSER to what `.ci/browser FOLDER` prints",
)


_OPEN = "document.querySelectorAll('details').forEach(one => one.open = true)"
_TEXTS = """
() => {
  const behind = (one) => {
    const box = one.closest("svg.graph svg")?.querySelector("rect");
    if (box) return getComputedStyle(box).fill;
    for (let up = one; up; up = up.parentElement) {
      const colour = getComputedStyle(up).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const words = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const seen = (one) => one.getClientRects().length && !one.closest(".unseen, .skip, title, style, script");
  return [...document.body.querySelectorAll("*")]
    .filter((one) => words(one) && seen(one) && (!one.closest("svg") || one.closest(".graph")))
    .map((one) => {
      const style = getComputedStyle(one);
      return [one.textContent.trim().slice(0, 40), one.closest("svg") ? style.fill : style.color, behind(one),
              parseFloat(style.fontSize)];
    });
}
"""
_INTERACTIVE = """
() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
  .filter((one) => one.getClientRects().length && !one.disabled)
  .map((one, at) => { one.dataset.at = at; return one.outerHTML.slice(0, 80); })
"""
_FOCUSED = """
() => {
  const one = document.activeElement, style = getComputedStyle(one);
  const framed = style.outlineStyle === "auto" || parseFloat(style.outlineWidth) >= 2;
  return [one.dataset.at ?? null, framed && style.outlineStyle !== "none"];
}
"""


def hard_to_read(tab: Any) -> list[str]:
    """What on a page is too small, or too much like what is behind it, with everything unfolded; or too wide."""
    tab.evaluate(_OPEN)
    wide = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    faults = [f"the page is {wide} pixels too wide"] if wide else []
    for text, colour, behind, size in tab.evaluate(_TEXTS):
        if contrast(_hexadecimal(colour), _hexadecimal(behind)) < LEAST_CONTRAST:
            faults.append(f"{text!r} is {colour} on {behind}")
        if size < LEAST_LETTERS:
            faults.append(f"{text!r} has {size} pixels")
    return faults


def out_of_reach(tab: Any) -> list[str]:
    """What of a page the Tab key does not come to, or comes to without a frame that shows where one is."""
    tab.evaluate(_OPEN)
    wanted = tab.evaluate(_INTERACTIVE)
    tab.evaluate("document.activeElement.blur()")
    reached: dict[str, bool] = {}
    for _ in range(len(wanted) + 2):
        tab.keyboard.press("Tab")
        at, framed = tab.evaluate(_FOCUSED)
        if at is not None:
            reached[at] = framed
    missed = [f"{html} is not reached" for at, html in enumerate(wanted) if str(at) not in reached]
    return missed + [f"{wanted[int(at)]} shows no focus" for at, framed in reached.items() if not framed]


def _hexadecimal(colour: str) -> str:
    """`rgb(255, 0, 0)` as `#ff0000`."""
    red, green, blue = re.findall(r"[\d.]+", colour)[:3]
    return f"#{int(float(red)):02x}{int(float(green)):02x}{int(float(blue)):02x}"
