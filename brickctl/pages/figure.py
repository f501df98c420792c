"""What a figure is: sentences, plots, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Spec = Mapping[str, Any]
"""A plot, in Vega-Lite: https://vega.github.io/vega-lite/docs/spec.html. Colours in it are names of `colours`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One plot. `title` stands above it; `describes` is what somebody is told who cannot see it."""

    title: str
    describes: str
    spec: Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A table: what its rows are about, the names of its columns, and its cells as they are shown.

    `words` are the columns that hold words, which begin at the left as the first one does; numbers end at the right.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One finding: `name` is its anchor and its file, `says` the main numbers found, `caveat` what they do not say."""

    name: str
    title: str
    says: str
    caveat: str | None = None
    panels: tuple[Panel, ...] = ()
    tables: tuple[Numbers, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The figures about one question, and a sentence that explains its terms."""

    name: str
    title: str
    lead: str
    figures: tuple[Figure, ...]
