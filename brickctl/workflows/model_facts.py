"""What the front matter of a model card says: written for people, so what cannot be read is not there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from brickctl.core.licenses import from_hub

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """Licence (SPDX) and base (an id of the Hub) as a card says them."""

    license: str | None = None
    base: str | None = None


def read_card(folder: Path) -> CardFacts:
    """The facts in README.md of a folder."""
    place = folder / "README.md"
    try:
        if not place.is_file():
            return CardFacts()
        with place.open("rb") as file:
            text = file.read(_LARGEST).decode("utf-8-sig", "ignore").replace("\r\n", "\n")
        values = yaml.safe_load(text.split("---\n", 2)[1]) if text.startswith("---\n") else None
    except (OSError, ValueError, yaml.YAMLError, IndexError, RecursionError):  # dates and numbers that are none
        return CardFacts()
    if not isinstance(values, dict):
        return CardFacts()
    license_id, own, base = values.get("license"), values.get("license_name"), values.get("base_model")
    chosen = own if license_id == "other" and isinstance(own, str) else license_id
    return CardFacts(
        license=from_hub(chosen) if isinstance(chosen, str) else None, base=base if isinstance(base, str) else None
    )
