"""A full-text index of bricks in one file (SQLite's FTS5), in brickctl's own cache.

It is made from a snapshot or from the index itself, and thrown away when either changes. Words that begin as was typed
are found; a name counts more than a tag, and a tag more than the summary (BM25). Bricks that are as good as one another
come in the order of their names.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256, sha256_bytes
from brickctl.core.listing import Listing
from brickctl.sources.atomic import unfinished

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

FORMAT = 1
"""Version of the tables; an index with others is made anew."""

_TABLES = """
    CREATE TABLE about (format INTEGER, address TEXT, tag TEXT);
    CREATE TABLE bricks (
        id INTEGER PRIMARY KEY, name TEXT, last TEXT, version TEXT, kind TEXT, license TEXT, summary TEXT, tags TEXT,
        base_source TEXT, base_interface TEXT, published TEXT, facets TEXT);
    CREATE VIRTUAL TABLE words USING fts5(
        name, tags, summary, facets, content='bricks', content_rowid='id', prefix='2 3', tokenize='unicode61');
    INSERT INTO words (words, rank) VALUES ('rank', 'bm25(10.0, 4.0, 1.0, 0.0)');
"""
_LOOKUP = "CREATE INDEX by_last ON bricks (last)"
_COLUMNS = "name, version, kind, license, summary, tags, base_source, base_interface, published"
_MOST_WORDS, _MOST_OF_ANY = 16, 64
_LONGEST_WORD = 64
_FACET = 24
_MOST_RANKED = 20_000
"""Bricks that are compared with one another; a word that more of them have says nothing about any."""

_LONG_ENOUGH = 4
"""Letters of a word that may be the beginning of another one where any word is enough: `in` begins too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for; everything that is given must hold.

    Attributes:
        text: words, each of which must begin one of the brick's; empty: any brick.
        kind: the kind of the brick.
        base_source: the model that it was made for; one that ends in `/` stands for all versions.
        base_interface: with this interface, or from `base_source`.
        limit: at most so many bricks.
        any_word: one of the words is enough. The rarer those that a brick has, and the more of them, the better it is;
            short words must be whole, and the English endings of longer ones (-s, -ed, -ing) count for nothing.
    """

    text: str = ""
    kind: str | None = None
    base_source: str | None = None
    base_interface: Sha256 | None = None
    limit: int = 20
    any_word: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """A brick that was found, and those words of the query that it has, in the order of the query."""

    listing: Listing
    words: tuple[str, ...]


class SearchIndex:
    """The index of one registry, in a file that is named after its address."""

    def __init__(self, folder: Path, address: str) -> None:
        self.place = folder / f"{sha256_bytes(address.encode())}.sqlite"
        self._address = address

    def tag(self) -> str | None:
        """The tag of what the index was made from; None where there is none that can be used."""
        try:
            with closing(self._opened()) as base:
                row = base.execute("SELECT format, address, tag FROM about").fetchone()
        except sqlite3.Error:
            return None
        return row[2] if row is not None and row[:2] == (FORMAT, self._address) else None

    def make(self, listings: Iterable[Listing], tag: str) -> None:
        """Make the index anew from listings that are sorted by name; the old one stays if they turn out unsound."""
        with unfinished(self.place) as new:
            with closing(sqlite3.connect(new.path)) as base:
                base.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
                fill(base, listings)
                base.execute("INSERT INTO about VALUES (?, ?, ?)", (FORMAT, self._address, tag))
                base.commit()
            new.path.replace(self.place)

    def search(self, query: Query) -> tuple[Listing, ...]:
        """The bricks that fit, the best first."""
        with closing(self._opened()) as base:
            return search(base, query)

    def _opened(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.place.resolve().as_uri()}?mode=ro&immutable=1", uri=True)


def search_these(listings: Iterable[Listing], query: Query) -> tuple[Listing, ...]:
    """As `SearchIndex.search`, of a few bricks, without a file."""
    with closing(sqlite3.connect(":memory:")) as base:
        fill(base, listings)
        return search(base, query)


def matches(listings: Iterable[Listing], query: Query) -> tuple[Match, ...]:
    """As `search_these`, where any word is enough, with what was found of each brick; listings have different names."""
    query = replace(query, any_word=True)
    words = tuple(dict.fromkeys(query.text.split()))
    with closing(sqlite3.connect(":memory:")) as base:
        fill(base, listings)
        found = search(base, query)
        everywhere = replace(query, limit=_MOST_RANKED)
        having = {word: [one.name for one in search(base, replace(everywhere, text=word))] for word in words}
    return tuple(Match(one, tuple(word for word in words if one.name in having[word])) for one in found)


def fill(base: sqlite3.Connection, listings: Iterable[Listing]) -> None:
    """Write bricks, sorted by name, into an empty database."""
    base.executescript(_TABLES)
    rows = ((number, *_row(listing)) for number, listing in enumerate(listings, 1))
    base.executemany("INSERT INTO bricks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    base.execute("INSERT INTO words (words) VALUES ('rebuild')")
    base.execute(_LOOKUP)


def search(base: sqlite3.Connection, query: Query) -> tuple[Listing, ...]:
    """The bricks that are called exactly so, unless any word is enough, then the others, the best first."""
    text, facets = query.text.strip().encode(errors="replace").decode(), _facets(query)
    words = _any_of(base, text, facets) if query.any_word else _words(text)
    if text and not words:
        return ()
    match = " AND ".join([*words, *facets])
    values: dict[str, str | int] = {"match": match, "exact": text.lower(), "limit": query.limit, "most": _MOST_RANKED}
    if not text:
        return tuple(_listings(base, _BY_NAME if facets else _ALL, values))
    chosen = _EXACT + (_AMONG if facets else "") + _EXACT_FIRST
    found = {} if query.any_word else dict.fromkeys(_listings(base, chosen, values))
    if len(found) < query.limit:
        found |= dict.fromkeys(_listings(base, _RANKED, {**values, "limit": query.limit + len(found)}))
    return tuple(found)[: query.limit]


_ALL = "FROM bricks ORDER BY id LIMIT :limit"
_BY_NAME = "FROM bricks WHERE id IN (SELECT rowid FROM words WHERE words MATCH :match LIMIT :limit) ORDER BY id"
_EXACT = "FROM bricks WHERE last = substr(:exact, instr(:exact, '/') + 1) AND :exact IN (name, last)"
_AMONG = " AND id IN (SELECT rowid FROM words WHERE words MATCH :match)"
_EXACT_FIRST = " ORDER BY name <> :exact, id LIMIT :limit"
_COUNT = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH :match LIMIT :limit)"
_RANKED = """
    FROM (
        SELECT at, score FROM (
            SELECT rowid AS at, rank AS score FROM words WHERE words MATCH :match LIMIT :most
        ) ORDER BY score, at LIMIT :limit
    ) JOIN bricks ON id = at ORDER BY score, id
"""
"""The best are chosen before anything but their words is read."""


def _facets(query: Query) -> list[str]:
    """What must hold beside the words, in the language of FTS5."""
    bases = [
        _facet(key, value)
        for key, value in (("base", query.base_source), ("interface", query.base_interface))
        if value is not None
    ]
    kinds = [] if query.kind is None else [f"facets : {_facet('kind', query.kind)}"]
    return [*kinds, *([f"facets : ({' OR '.join(bases)})"] if bases else [])]


def _facet(key: str, value: str) -> str:
    """A fact as one word that nobody would write."""
    return "x" + sha256_bytes(f"{key}:{value}".encode())[:_FACET]


def _facts(listing: Listing) -> str:
    words = [_facet("kind", listing.kind)]
    if listing.base_source is not None:
        words.append(_facet("base", listing.base_source))
        if listing.base_source.startswith("index:"):  # whatever its version
            words.append(_facet("base", listing.base_source.rpartition("/")[0] + "/"))
    if listing.base_interface is not None:
        words.append(_facet("interface", listing.base_interface))
    return " ".join(words)


def _words(text: str) -> list[str]:
    """Words in the language of FTS5, each as a text in which nothing has a meaning.

    A whole word of a name or a tag counts twice; in a summary it would outweigh the beginning of a name.
    """
    return [_begun(word, word) for word in _spoken(text)[:_MOST_WORDS]]


def _any_of(base: sqlite3.Connection, text: str, facets: Sequence[str]) -> list[str]:
    """As `_words`, as one condition that a brick with one of the words fulfils.

    Of the words, the rarest, as far as the bricks that have them can all be compared: one that most bricks have would
    take the places of those that have a rare one.
    """
    words = [
        _begun(word, _stem(word)) if len(word) >= _LONG_ENOUGH else f'{{name tags summary}} : "{word}"'
        for word in _spoken(text)[:_MOST_OF_ANY]
    ]
    counts = [_count(base, " AND ".join([word, *facets])) for word in words]
    rarest = sorted(range(len(words)), key=lambda at: counts[at])
    sums = accumulate(counts[at] for at in rarest)
    kept = [words[at] for at, bricks in zip(rarest, sums, strict=True) if bricks <= _MOST_RANKED] or words
    return [f"({' OR '.join(kept)})"] if kept else []


def _count(base: sqlite3.Connection, match: str) -> int:
    """How many bricks match, as far as that matters."""
    values = {"match": match, "limit": _MOST_RANKED + 1}
    (number,) = base.execute(_COUNT, values).fetchone()
    return int(number)


def _spoken(text: str) -> list[str]:
    words = [word[:_LONGEST_WORD].replace('"', '""') for word in text.replace("\0", " ").split()]
    return [word for word in words if any(letter.isalnum() for letter in word)]


def _begun(word: str, beginning: str) -> str:
    return f'({{name tags}} : "{word}" OR {{name tags summary}} : "{beginning}"*)'


def _stem(word: str) -> str:
    """The word without an English ending, where enough is left: `sorts`, `sorted` and `sorting` begin with `sort`."""
    for ending in ("ing", "ed", "s"):
        if word.lower().endswith(ending) and len(word) - len(ending) >= _LONG_ENOUGH:
            return word[: -len(ending)]
    return word


def _listings(base: sqlite3.Connection, rest: str, values: Mapping[str, str | int]) -> Iterator[Listing]:
    for row in base.execute(f"SELECT {_COLUMNS} {rest}", values):
        name, version, kind, license_name, summary, tags, source, interface, published = row
        yield Listing(
            name=name,
            version=version,
            kind=kind,
            license=license_name,
            summary=summary,
            tags=tuple(json.loads(tags)),
            base_source=source,
            base_interface=interface,
            published=published,
        )


def _row(listing: Listing) -> tuple[str | None, ...]:
    last = listing.name.partition("/")[2]
    return (
        listing.name,
        last,
        listing.version,
        listing.kind,
        listing.license,
        listing.summary,
        json.dumps(listing.tags),
        listing.base_source,
        listing.base_interface,
        listing.published,
        _facts(listing),
    )
