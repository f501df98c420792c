"""The safetensors header, read strictly, before anything else touches the file.

Layout: 8 bytes little-endian length N, N bytes of JSON, then the tensors. The safetensors library (0.8) accepts a name
twice, names that look like paths out of the folder, and files without tensors; this reader accepts none of them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.errors import HeaderInvalid, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LENGTH_BYTES = 8
"""Size of the length that every file begins with."""

LARGEST_HEADER = 100_000_000
"""Bytes of JSON; the limit of the safetensors format."""

_METADATA = {"format": "pt"}
_ALIGNMENT = 8
_LONGEST_NAME = 1024
_MOST_DIMENSIONS = 16
_FIELDS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file; `begin` and `end` are byte offsets from the start of the file."""

    name: str
    spec: Spec
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself: entries in the order of their bytes, `start` where the first of them begins."""

    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    start: int

    @property
    def is_plain(self) -> bool:
        """Whether it says what `write_header` would say, and its tensors are aligned; perhaps in other words."""
        return self.metadata == _METADATA and self.start % _ALIGNMENT == 0


def header_length(prefix: bytes, *, where: str) -> int:
    """Bytes before the tensors, from the first 8 bytes of a file.

    Raises:
        HeaderInvalid: fewer than 8 bytes, or a length over 100 MB.
    """
    if len(prefix) < LENGTH_BYTES:
        raise _no_safetensors(where, f"it has only {len(prefix)} bytes")
    length = int.from_bytes(prefix[:LENGTH_BYTES], "little")
    if length > LARGEST_HEADER:
        raise _no_safetensors(where, f"its header claims {length:,} bytes; the format allows {LARGEST_HEADER:,}")
    return LENGTH_BYTES + length


def read_header(path: Path) -> Header:
    """Read and check the header of a local file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(LENGTH_BYTES)
        length = header_length(prefix, where=str(path))
        return parse_header(prefix + file.read(min(length, size) - LENGTH_BYTES), file_size=size, where=str(path))


def parse_header(raw: bytes, *, file_size: int, where: str) -> Header:
    """Check the bytes before the tensors, length included, against the size of the file.

    Every byte of the file must belong to exactly one tensor: no overlap, no hole, nothing behind the last.

    Raises:
        HeaderInvalid: anything is not as the format demands.
        Unsupported: an element type that this brickctl does not know.
    """
    start = header_length(raw, where=where)
    if len(raw) != start:
        raise _lie(where, f"its header needs {start:,} bytes and the file has {file_size:,}")
    document = _parse_json(raw[LENGTH_BYTES:], where)
    metadata = _check_metadata(document.pop("__metadata__", {}), where)
    entries = [_parse_entry(name, value, start, where) for name, value in document.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end, entry.name))
    _check_tiling(entries, start, file_size, where)
    return Header(tuple(entries), metadata, start)


def _no_safetensors(where: str, reason: str) -> HeaderInvalid:
    hint = "an error page, a Git LFS pointer or half a download looks like this; fetch the file again"
    return HeaderInvalid(f"{where} is not a safetensors file", causes=(reason,), hint=hint)


def _lie(where: str, reason: str) -> HeaderInvalid:
    return HeaderInvalid(
        f"{where} has a header that does not describe the file",
        causes=(reason,),
        hint="the file is damaged or was made to mislead; fetch it again or ask its publisher",
    )


def _parse_json(raw: bytes, where: str) -> dict[str, Any]:
    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise _lie(where, f"the name `{shown(name)}` stands in it twice")
            found[name] = value
        return found

    if not raw.startswith(b"{"):
        raise _lie(where, "the header is not a JSON object")
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError) as error:
        raise _lie(where, f"the header is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _lie(where, "the header is not a JSON object")
    return document


def _check_metadata(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _lie(where, "`__metadata__` must map strings to strings")
    return value


def _parse_entry(name: str, value: Any, start: int, where: str) -> Entry:
    if not name or len(name) > _LONGEST_NAME or not name.isprintable() or "/" in name or "\\" in name:
        raise _lie(where, f"{name[:80]!r} is no name for a tensor")
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise _lie(where, f"`{name}` must have dtype, shape and data_offsets, and nothing else")
    shape = _counts(value["shape"], name, where)
    offsets = _counts(value["data_offsets"], name, where)
    if len(shape) > _MOST_DIMENSIONS or len(offsets) != 2:  # noqa: PLR2004 - begin and end
        raise _lie(where, f"`{name}` has {len(shape)} dimensions and {len(offsets)} offsets")
    if math.prod(shape) >= 1 << 62:
        raise _lie(where, f"`{name}` claims more elements than any file can hold")
    spec = Spec(_dtype(value["dtype"], name, where), shape)
    begin, end = offsets
    if end - begin != spec.bytes:
        raise _lie(where, f"`{name}` claims {end - begin:,} bytes; its shape and type make {spec.bytes:,}")
    return Entry(name, spec, start + begin, start + end)


def _counts(value: Any, name: str, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(count) is int and 0 <= count < 1 << 62 for count in value):
        raise _lie(where, f"`{name}` has a shape or offsets that are not lists of counts")
    return tuple(value)


def _dtype(code: Any, name: str, where: str) -> DType:
    dtype = DType.from_code(code) if isinstance(code, str) else None
    if dtype is None:
        message = f"{where} holds `{name}` in the element type {shown(code)}, which brickctl does not know"
        raise Unsupported(message, hint="upgrade brickctl, or ask the publisher for a file in fp32, bf16 or fp16")
    return dtype


def _check_tiling(entries: list[Entry], start: int, file_size: int, where: str) -> None:
    if not entries:
        hint = "the upload is incomplete, or the file is of something else; ask its publisher"
        raise HeaderInvalid(f"{where} holds no tensor", hint=hint)
    position = start
    for entry in entries:
        if entry.begin != position:
            fault = "overlaps what lies before it" if entry.begin < position else "leaves a hole before it"
            raise _lie(where, f"`{entry.name}` {fault}")
        position = entry.end
    if position != file_size:
        raise _lie(where, f"the tensors end at byte {position:,} and the file at byte {file_size:,}")


def write_header(tensors: Mapping[str, Spec]) -> bytes:
    """The bytes before the tensors, for tensors that are stored in this order without holes.

    Padded with spaces to a multiple of 8, as the safetensors library does, so that every tensor is aligned.
    """
    document: dict[str, Any] = {"__metadata__": _METADATA}
    position = 0
    for name, spec in tensors.items():
        offsets = [position, position + spec.bytes]
        document[name] = {"dtype": spec.dtype.code, "shape": list(spec.shape), "data_offsets": offsets}
        position += spec.bytes
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text
