"""Searches of one registry: in an index that is made from its snapshot, or of a small folder from its pages."""

from __future__ import annotations

import errno
import sqlite3
from typing import TYPE_CHECKING

from brickctl.core.digests import sha256_bytes
from brickctl.core.listing import listing_of
from brickctl.errors import BrickctlError, IntegrityFault, NoSpace, OfflineMiss, Unsupported
from brickctl.sources.naming import place_label
from brickctl.sources.pages import Page
from brickctl.sources.search_index import SearchIndex, search_these
from brickctl.sources.snapshot import LARGEST_PACKED, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from brickctl.core.listing import Listing
    from brickctl.sources.index import Index
    from brickctl.sources.search_index import Query

_DIGEST = "sha256:"

MOST_PAGES = 1_000
"""Bricks of a registry without a snapshot whose pages are all read for a search."""


def find(index: Index, query: Query, folder: Path, note: Callable[[str], None]) -> tuple[Listing, ...]:
    """The bricks of a registry that fit, the best first.

    Args:
        index: of the registry.
        query: what is looked for.
        folder: where indexes of words are kept.
        note: tells people what takes long.

    Raises:
        NotFound, Gated, TransportFault, OfflineMiss: the registry cannot be read.
        IntegrityFault: it, or its snapshot, is not sound; what was searched before is kept.
        Unsupported: it has a newer format, or no snapshot, and is not small.
    """
    path = index.layout.snapshot
    if path is None:
        return search_these(_from_pages(index), query)
    words = SearchIndex(folder, index.store.address)
    _renew(index, path, words, words.tag(), note)
    try:
        return words.search(query)
    except sqlite3.Error:  # damaged: everything in it can be had again
        _renew(index, path, words, None, note)
        return words.search(query)


def _renew(index: Index, path: str, words: SearchIndex, tag: str | None, note: Callable[[str], None]) -> None:
    """Make the index of words anew if the snapshot is another one than it was made from."""
    known = Page(b"", None if tag is None or tag.startswith(_DIGEST) else tag)
    try:
        page = index.store.packed(path, known, limit=LARGEST_PACKED)
    except OfflineMiss:
        if tag is None:
            raise
        return
    if page is None:
        reason = f"config.json says that it is at {path}"
        hint = "ask whoever runs the registry to make it anew with `brickctl registry snapshot`"
        raise IntegrityFault(f"the snapshot of registry `{index.name}` is not there", causes=(reason,), hint=hint)
    new = page.etag or f"{_DIGEST}{sha256_bytes(page.body)}"  # servers need not have tags
    if page is known or new == tag:
        return
    note(f"reading the snapshot of registry `{index.name}`")
    _make(words, page.body, new, where=f"{index.store.address}/{path}")


def _make(words: SearchIndex, packed: bytes, tag: str, *, where: str) -> None:
    try:
        words.make(unpack(packed, where=where), tag)
    except (OSError, sqlite3.OperationalError) as error:
        full = getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or "full" in str(error)
        hint = "make room there, or set BRICKCTL_CACHE to a folder that you may write"
        message = f"{place_label(words.place)} cannot be written"
        raise (NoSpace if full else BrickctlError)(message, causes=(str(error),), hint=hint) from error


def _from_pages(index: Index) -> Iterator[Listing]:
    names = index.store.names(MOST_PAGES)
    if names is None:
        raise Unsupported(
            f"registry `{index.name}` cannot be searched",
            causes=("it publishes no snapshot of its bricks",),
            hint="ask whoever runs it to run `brickctl registry snapshot`; bricks can be added by their names",
        )
    for name in names:
        listing = listing_of(index.entries(name))
        if listing is not None:
            yield listing
