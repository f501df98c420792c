"""The header of a safetensors file that lies on a server, for the price of the header.

A ranged GET of the eight bytes that give its length, and one of exactly the header: no byte of weights is asked for. A
server may ignore the range and send the whole file: then reading stops behind the header and the connection is closed.

What a server says here is not verified against a digest; only a whole file can be. Whoever uses the bytes of a file
reads the header again from the verified file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.errors import IntegrityFault, TransportFault
from brickctl.tensors.header import LENGTH_BYTES, Header, header_length, parse_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_OK, _PARTIAL = 200, 206


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is still open: where its body begins in the file, how large it says the file is, the body."""

    begin: int
    total: int | None
    chunks: Iterator[bytes]


def read_remote_header(
    open_range: Callable[[int, int], AbstractContextManager[Answer]], *, size: int, where: str
) -> Header:
    """The checked header of a file of `size` bytes.

    `open_range(begin, end)` asks a server for these bytes, end excluded.

    Raises:
        IntegrityFault: the server has a file of another size.
        HeaderInvalid: the header is not what the format demands, or does not fit the size.
        TransportFault: the server stops early.
    """
    raw = bytearray()
    goal = LENGTH_BYTES
    if size < goal:
        header_length(bytes(size), where=where)
    while len(raw) < goal:
        wanted = goal
        with open_range(len(raw), wanted) as answer:
            _check_size(answer, size, where)
            goal = _collect(raw, answer, goal, size, where)
        if len(raw) < wanted:
            raise unread(where, f"{len(raw):,} of {goal:,} bytes of the header came")
    return parse_header(bytes(raw[:goal]), file_size=size, where=where)


def answer_bounds(status: int, headers: Mapping[str, str], begin: int, *, where: str) -> tuple[int, int | None]:
    """Where the body of a response begins in the file, and how large the file is said to be.

    Raises:
        TransportFault: neither 200 nor 206, or a part that was not asked for.
    """
    if status == _PARTIAL:
        match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if match is None or int(match[1]) != begin:
            raise unread(where, "the server sent another part than asked for")
        return begin, None if match[3] == "*" else int(match[3])
    if status != _OK:
        raise unread(where, f"the server answered with status {status}")
    length = headers.get("content-length", "") if "content-encoding" not in headers else ""
    length = length or headers.get("x-linked-size", "")
    return 0, int(length) if length.isascii() and length.isdigit() else None


def unread(where: str, reason: str) -> TransportFault:
    """The error about an answer that is none, to be raised by the caller."""
    hint = "run the command again later; if it fails again, ask whoever runs the server, or the proxy before it"
    return TransportFault(f"{where} could not be read", causes=(reason,), hint=hint)


def _check_size(answer: Answer, size: int, where: str) -> None:
    if answer.total is not None and answer.total != size:
        raise IntegrityFault(
            f"{where} has another size than it was listed with",
            causes=(f"the server says {answer.total:,} bytes; {size:,} are expected",),
            hint="the file was replaced or the server is not the publisher's; do not use it before you know which",
        )


def _collect(raw: bytearray, answer: Answer, goal: int, size: int, where: str) -> int:
    """Append the bytes that are new, until the header is complete or the body ends; returns the header's length."""
    position = answer.begin
    for chunk in answer.chunks:
        raw += chunk[max(0, len(raw) - position) :]
        position += len(chunk)
        if goal == LENGTH_BYTES and len(raw) >= goal:
            goal = header_length(bytes(raw[:LENGTH_BYTES]), where=where)
            if goal > size:
                parse_header(bytes(raw[:LENGTH_BYTES]), file_size=size, where=where)
        if len(raw) >= goal:
            break
    return goal
