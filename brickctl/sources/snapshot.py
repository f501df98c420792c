"""The snapshot of a registry: one line for each brick, sorted by name, packed by gzip. What searches are made from.

Nothing is locked by it: a brick that is found is asked for in the index like any other. A snapshot is a file from a
server all the same, and so each size has a bound and each line is checked before anything is kept of it.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import TYPE_CHECKING

from brickctl.core.listing import Listing, encode_listing, parse_listing
from brickctl.errors import IntegrityFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SNAPSHOT = "snapshot.jsonl.gz"
"""Where it stands, unless a registry's config.json says otherwise."""

LARGEST_PACKED = 100_000_000
"""Bytes of a snapshot as it is sent; 200,000 bricks take some 15 MB."""

LARGEST_PLAIN = 1_000_000_000
"""Bytes of all its lines."""

MOST_BRICKS = 2_000_000

_PIECE = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS
_LEVEL = 9


def pack(listings: Iterable[Listing]) -> bytes:
    """Write a snapshot of bricks that are sorted by name: the same bytes for the same bricks, whatever the time."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=packed, mtime=0) as file:
        for listing in listings:
            file.write(encode_listing(listing))
    return packed.getvalue()


def unpack(packed: bytes, *, where: str) -> Iterator[Listing]:
    """The bricks of a snapshot, one after another; `where` is for messages.

    Raises:
        IntegrityFault: not gzip, cut off, too large, or a line that is malformed or not in its place.
        Unsupported: a newer format.
    """
    last = ""
    for number, line in enumerate(_lines(_plain(packed, where), where), 1):
        try:
            listing = parse_listing(line, file=where, line=number)
        except IntegrityFault as fault:
            raise _broken(where, f"line {number} is off", *fault.causes) from None
        if listing.name <= last:
            reason = f"line {number} is about `{listing.name}`, after `{last}`"
            raise _broken(where, reason, "lines are sorted by name, and none is there twice")
        if number > MOST_BRICKS:
            raise _broken(where, f"it has more than {MOST_BRICKS:,} lines")
        last = listing.name
        yield listing


def _plain(packed: bytes, where: str) -> Iterator[bytes]:
    """What was packed, a piece at a time: however much a few bytes unpack to, no more than a piece is in memory."""
    inflater = zlib.decompressobj(_GZIP)
    rest, total = packed, 0
    while not inflater.eof:
        try:
            piece = inflater.decompress(rest, _PIECE)
        except zlib.error as error:
            raise _broken(where, f"it is not gzip: {error}") from None
        rest = inflater.unconsumed_tail
        total += len(piece)
        if total > LARGEST_PLAIN:
            raise _broken(where, f"it unpacks to more than {LARGEST_PLAIN:,} bytes")
        if not piece and not rest and not inflater.eof:
            raise _broken(where, "it ends early")
        yield piece
    if inflater.unused_data:
        raise _broken(where, "something stands behind its end")


def _lines(pieces: Iterable[bytes], where: str) -> Iterator[bytes]:
    begun = b""
    for piece in pieces:
        *whole, begun = (begun + piece).split(b"\n")
        yield from (line + b"\n" for line in whole)
        if len(begun) > _PIECE:
            raise _broken(where, "a line of it does not end")
    if begun:
        raise _broken(where, "its last line does not end")


def _broken(where: str, *reasons: str) -> IntegrityFault:
    hint = "ask whoever runs the registry to make it anew with `brickctl registry snapshot`"
    return IntegrityFault(f"the snapshot {where} cannot be read", causes=reasons, hint=hint)
