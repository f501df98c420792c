"""The Range header: which part of a body is asked for."""

from __future__ import annotations

import re

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the part `[start, stop)` of a body; None where the header asks for all or for something unknown.

    Raises:
        ValueError: the part lies outside the body (answered with 416).
    """
    match = RANGE.fullmatch(header or "")
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        raise ValueError(header)
    return start, stop
