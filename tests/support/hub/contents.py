"""The bytes of a file, read in pieces: a 50 GB checkpoint is served from disk without being loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 16


class Content(Protocol):
    """Something with a size whose bytes can be read from any offset."""

    @property
    def size(self) -> int: ...

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes of `[start, stop)`, at most `PIECE` at a time."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """Bytes given by the test, or an answer of the API."""

    payload: bytes

    @property
    def size(self) -> int:
        return len(self.payload)

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        for offset in range(start, min(stop, self.size), PIECE):
            yield self.payload[offset : min(offset + PIECE, stop)]


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A file that stays where it is; it must not change while the Hub runs."""

    path: Path
    size: int

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(start)
            left = stop - start
            while left > 0 and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece


@dataclass(frozen=True, slots=True)
class Tampered:
    """Another content with one byte inverted: same length, same claimed digest, other bytes."""

    original: Content
    position: int

    @property
    def size(self) -> int:
        return self.original.size

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        offset = start
        for piece in self.original.pieces(start, stop):
            at = self.position - offset
            if 0 <= at < len(piece):
                yield piece[:at] + bytes([piece[at] ^ 0xFF]) + piece[at + 1 :]
            else:
                yield piece
            offset += len(piece)


@dataclass(frozen=True, slots=True)
class Zeros:
    """Zeros without storage: bodies that are too long, and large files that cost no disk."""

    size: int

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        for offset in range(start, min(stop, self.size), PIECE):
            yield bytes(min(PIECE, min(stop, self.size) - offset))


def content_of(source: bytes | Path | Content) -> Content:
    """Accept what tests write down: bytes, a path, or a content of their own."""
    if isinstance(source, bytes):
        return InMemory(source)
    if isinstance(source, Path):
        return OnDisk(source, source.stat().st_size)
    return source
