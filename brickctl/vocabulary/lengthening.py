"""How much longer a tokenizer may make a text before it cuts it.

Thirty parts that each write a letter twice make a thousand million of one: a file of a few kilobytes could ask for more
than any memory holds, and nobody could tell the library to stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.vocabulary.spelling import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 1 << 10
"""Times: what is known of tokenizers is below; XLNet's may come to 648."""

_COMPATIBLE = 18
"""Letters that a single one may stand for, as U+FDFA does in NFKC and NFKD."""

_TIMES = {"ByteLevel": 2, "NFKC": _COMPATIBLE, "NFKD": _COMPATIBLE, "Precompiled": _COMPATIBLE}


def is_endless(document: Mapping[str, Any]) -> bool:
    """Whether the parts of a tokenizer, one after another, could make a text more than `LONGEST` times as long."""
    times = 1
    for part in parts_of(document):
        times *= _times(part)
        if times > LONGEST:
            return True
    return False


def _times(part: Mapping[str, Any]) -> int:
    """How many bytes at most one part may make of one."""
    kind, pattern = part.get("type"), part.get("pattern")
    if kind == "Prepend":
        return 1 + _length(part.get("prepend"))
    if kind != "Replace":
        return _TIMES.get(kind, 1) if isinstance(kind, str) else 1
    written = _length(part.get("content"))
    replaced = _length(pattern.get("String")) if isinstance(pattern, dict) else 0
    return max(1, -(-written // replaced)) if replaced else 1 + written  # an expression may find nothing everywhere


def _length(text: Any) -> int:
    return len(text.encode(errors="replace")) if isinstance(text, str) else 0
