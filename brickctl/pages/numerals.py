"""Numbers as people read them. What is not known is a dash."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN = "\N{EN DASH}"
_SPACE = "\N{NO-BREAK SPACE}"
_LARGE, _HUGE = 1e5, 1e6


def percent(share: float | None) -> str:
    """A share of 1 in per cent, with two digits that count: `11 %`, `0.45 %`, `1 %`."""
    return UNKNOWN if share is None else f"{_digits(100 * share)}{_SPACE}%"


def change(value: float | None) -> str:
    """A change that is in per cent already, with its sign: `+704 %`, `-3.1 %` with a true minus."""
    return UNKNOWN if value is None else f"{bare_change(value)}{_SPACE}%"


def bare_change(value: float) -> str:
    """A change in per cent where the sign `%` stands elsewhere: `+704`."""
    sign = "\N{MINUS SIGN}" if value < 0 else "+"
    return f"{sign}{_digits(abs(value))}"


def short_change(value: float) -> str:
    """A change in a small cell: no sign where it is above zero, one decimal place below ten."""
    size = abs(value)
    text = f"{size:.1f}" if size < 10 else f"{size:.0f}" if size < _LARGE else f"{size:.0e}"  # noqa: PLR2004 - two digits
    return f"\N{MINUS SIGN}{text}" if value < 0 and float(text) else text


def decimal(value: float | None, places: int = 3) -> str:
    """A number with a fixed count of decimal places, or with an exponent where it is huge."""
    if value is None:
        return UNKNOWN
    return f"{value:.{places}f}" if abs(value) < _HUGE else f"{value:.{places}e}"


def count(value: int | None) -> str:
    """A count, its thousands apart."""
    return UNKNOWN if value is None else f"{value:,}"


def duration(seconds: float | None) -> str:
    """A time: `8.2 s`, `3 min 20 s`, `1 h 5 min`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{_digits(seconds)}{_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    parts = (f"{hours}{_SPACE}h", f"{left}{_SPACE}min") if hours else (f"{minutes}{_SPACE}min", f"{rest}{_SPACE}s")
    return " ".join(parts)


def middle(values: Iterable[float | None]) -> float | None:
    """The median of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def several(count: int, one: str, many: str | None = None) -> str:
    """`1 layer`, `30 layers`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: Iterable[str]) -> str:
    """`French`, `French and code`, `French, code and prose`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _digits(value: float) -> str:
    """Two digits that count, or all before the point: 0.45, 1.2, 1, 12, 704."""
    size = abs(value)
    if size == 0 or not math.isfinite(value):
        return f"{value:g}"
    if size >= _HUGE:
        return f"{value:.1e}"
    places = max(0, 1 - math.floor(math.log10(size)))
    text = f"{value:,.{min(places, 4)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
