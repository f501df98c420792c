"""Digests: what is hashed, and in which canonical form."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, NewType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits, without a prefix."""

_HEX = re.compile(r"[0-9a-f]{64}")
_PREFIX = "sha256:"


def is_sha256(text: str) -> bool:
    """Whether `text` is a bare digest: 64 lower-case hexadecimal digits."""
    return _HEX.fullmatch(text) is not None


def parse_prefixed(text: str) -> Sha256 | None:
    """Read `sha256:HEX`; None when it is something else."""
    bare = text.removeprefix(_PREFIX)
    return Sha256(bare) if bare != text and is_sha256(bare) else None


def prefixed(digest: Sha256) -> str:
    """Write a digest as `sha256:HEX`."""
    return _PREFIX + digest


def sha256_bytes(content: bytes | bytearray | memoryview) -> Sha256:
    """Hash bytes held in memory."""
    return Sha256(hashlib.sha256(content).hexdigest())


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8, no NaN: equal values give equal bytes."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def readable_json(value: Any) -> bytes:
    """Sorted keys, two spaces, LF at the end: the canonical form of files that people read."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def json_digest(value: Any) -> Sha256:
    """Digest of the canonical JSON of a value."""
    return sha256_bytes(canonical_json(value))


def tree_digest(files: Iterable[tuple[str, Sha256]]) -> Sha256:
    r"""Digest of a folder: lines `HEX<two spaces>PATH\n`, sorted by the bytes of the POSIX path."""
    lines = sorted((path.encode(), digest) for path, digest in files)
    return sha256_bytes(b"".join(digest.encode() + b"  " + path + b"\n" for path, digest in lines))


def interface_digest(shapes: Mapping[str, Sequence[int]]) -> Sha256:
    r"""Digest of an interface: lines `JSON(name)<space>JSON(shape)\n`, sorted by name; no dtype."""
    lines = (canonical_json(name) + b" " + canonical_json(list(shapes[name])) + b"\n" for name in sorted(shapes))
    return sha256_bytes(b"".join(lines))
