"""Colours, for light and for dark: names that a style sheet resolves, and the light ones that a picture has.

A ramp is even in lightness, so that it reads alike with any kind of colour vision, and in grey: its colours have equal
steps of L in OKLCH (https://www.w3.org/TR/css-color-4/#ok-lab). In the dark it begins dark, so that little stays quiet.
"""

from __future__ import annotations

import re
from typing import Final

STEPS: Final = 9
"""Colours of the ramp `ramp-0` ... `ramp-8`, from little to much."""

MORE: Final = 7
"""Colours of the ramp `more-0` ... `more-6`, from little to much more."""

LINES: Final = 8
"""Colours of lines, `line-0` ... `line-7`: neighbours differ for every kind of colour vision."""

_LIGHT = {
    "surface": "#ffffff",
    "ink": "#1d222b",
    "muted": "#5b6472",
    "grid": "#e4e7eb",
    "even": "#f3f4f6",
}
_DARK = {
    "surface": "#171a20",
    "ink": "#e8eaee",
    "muted": "#a3acb9",
    "grid": "#2e343e",
    "even": "#262b34",
}
_RAMPS = {
    "ramp": (
        "#e6f7f8 #bfe0e5 #98c7d4 #73aec5 #4f95b8 #2e7aaa #255f93 #1d457b #172c62",
        "#1f2635 #2c3c52 #36546f #3d6e8c #418aa8 #42a8c2 #67c3d1 #8cdde1 #b1f8f2",
    ),
    "more": (
        "#fdecd1 #edc79e #de9f6f #cf7646 #b94d2e #94312e #6e1728",
        "#4c2a2d #723d38 #98533d #be6c3b #dd8c3e #ebb46a #fada99",
    ),
    "less": (
        "#c7edef #7dc1cb",
        "#284850 #367a84",
    ),
    "line": (
        "#0b6fa4 #c8501e #12805c #8a4fa3 #8c6d00 #b3306b #5b6472 #3d5a99",
        "#5bb8e8 #f08a5d #4fc79a #c79be0 #d9b84a #f285b5 #a9b3c1 #9bb4ef",
    ),
}
_NAME = re.compile(r"var\(--([a-z0-9-]+)\)")
_WHITE, _BLACK = "#ffffff", "#14171c"


def named(name: str) -> str:
    """The colour as a style sheet resolves it: `var(--ink)`."""
    return f"var(--{name})"


def resolved(colour: str) -> str:
    """The colour of a picture, which is light and has no style sheet; what is no name stays."""
    match = _NAME.fullmatch(colour)
    return palette(dark=False)[match.group(1)] if match else colour


def palette(*, dark: bool) -> dict[str, str]:
    """Every colour by its name; `on-NAME` is what can be read on it."""
    plain = dict(_DARK if dark else _LIGHT)
    for name, shades in _RAMPS.items():
        plain |= {f"{name}-{at}": shade for at, shade in enumerate(shades[dark].split())}
    return plain | {f"on-{name}": _readable_on(shade) for name, shade in plain.items()}


def contrast(one: str, other: str) -> float:
    """How far apart two colours are in lightness, 1 to 21: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _readable_on(shade: str) -> str:
    return max((_WHITE, _BLACK), key=lambda text: contrast(text, shade))


def _luminance(colour: str) -> float:
    """Relative luminance: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)  # noqa: PLR2004 - sRGB
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
