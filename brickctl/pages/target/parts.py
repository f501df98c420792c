"""What a page is made of: its parts, each with sentences, facts, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from brickctl.pages.figure import Figure, Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a page.

    Attributes:
        lead: what the part is about, in a sentence or two.
        says: the main finding.
        warnings: what should be looked at before the result is used.
        drawing: a drawing of its own.
        facts: groups of names and values.
        tables: shown at once; `more` when asked for.
        figures: findings with plots.
    """

    name: str
    title: str
    lead: str = ""
    says: str = ""
    warnings: tuple[str, ...] = ()
    drawing: ET.Element | None = None
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    tables: tuple[Numbers, ...] = ()
    more: tuple[Numbers, ...] = ()
    figures: tuple[Figure, ...] = ()
