"""The body of a request, as it comes from the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.hub.contents import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import BufferedIOBase


def incoming(stream: BufferedIOBase, headers: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the body in pieces, whether its length was declared or it comes in chunks; nothing after its end."""
    if headers.get("transfer-encoding") == "chunked":
        yield from _chunks(stream)
    else:
        yield from _exactly(stream, int(headers.get("content-length", 0)))


def _chunks(stream: BufferedIOBase) -> Iterator[bytes]:
    while size := int(stream.readline(), 16):
        yield from _exactly(stream, size)
        stream.readline()
    stream.readline()


def _exactly(stream: BufferedIOBase, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := stream.read(min(PIECE, size))):
        size -= len(piece)
        yield piece
