"""What the list of a site shows of a brick, and what its search reads."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.listing import listing_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from brickctl.core.registry_line import RegistryEntry

MOST_CHOICES = 200
"""Kinds, licences or bases that can be chosen from; of more, those that most bricks have."""

_INDEX = "index:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One brick in the list. `base` is empty where it names none; `yanked` says that none of its versions is left."""

    name: str
    version: str
    kind: str
    license: str
    base: str
    summary: str
    tags: tuple[str, ...]
    yanked: bool

    @property
    def path(self) -> str:
        """Where its page is."""
        return page_path(self.name)


def page_path(name: str) -> str:
    """Where the page of a brick is, below the site; names of bricks are safe paths."""
    return f"bricks/{name}.html"


def shown_entry(entries: Sequence[RegistryEntry]) -> RegistryEntry:
    """The version that stands for a brick: what a search shows, else the newest that was yanked."""
    listing = listing_of(entries)
    if listing is None:
        return max(entries, key=lambda entry: entry.semver)
    return next(entry for entry in entries if entry.version == listing.version and not entry.yanked)


def row_of(entries: Sequence[RegistryEntry]) -> Row:
    """A brick, which has at least one version."""
    entry = shown_entry(entries)
    return Row(
        name=entry.name,
        version=entry.version,
        kind=entry.kind,
        license=entry.license,
        base="" if entry.base is None else base_label(entry.base.source),
        summary=entry.summary,
        tags=entry.tags,
        yanked=entry.yanked,
    )


def base_label(source: str) -> str:
    """The model at a source, whatever its version: `acme/base` of `index:acme/base/1.0.0` and of `hf:acme/base`."""
    if source.startswith(_INDEX):
        return source.removeprefix(_INDEX).rpartition("/")[0]
    return source.partition(":")[2]


def choices(values: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """What the list can be narrowed to, with the number of bricks that have it, in the order of names."""
    counted = Counter(value for value in values if value)
    most = sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:MOST_CHOICES]
    return tuple(sorted(most))


def search_script(rows: Sequence[Row]) -> bytes:
    """The data of the search as a script that only assigns it: scripts can be read from a disk too, JSON cannot.

    Kinds, licences and bases stand in it once, and rows have their numbers.
    """
    tables = [list(dict.fromkeys(getattr(row, key) for row in rows)) for key in ("kind", "license", "base")]
    numbers = [{value: at for at, value in enumerate(table)} for table in tables]
    packed = [
        [
            row.name,
            row.version,
            *(of[value] for of, value in zip(numbers, (row.kind, row.license, row.base), strict=True)),
            row.summary,
            " ".join(row.tags),
            int(row.yanked),
        ]
        for row in rows
    ]
    document = dict(zip(("kinds", "licenses", "bases", "rows"), (*tables, packed), strict=True))
    return f"globalThis.catalogue = {_json(document)};\n".encode("ascii")


def _json(value: Any) -> str:
    """JSON in ASCII that ends no element and opens none, wherever it stands."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
