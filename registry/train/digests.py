"""The digests of a registry line, computed with nothing but the standard library."""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def file_entries(folder: Path) -> list[dict[str, Any]]:
    """Path, sha256 and size in bytes of every file below a folder, sorted by the bytes of the POSIX path."""
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [
        {"path": name, "sha256": hashlib.sha256(contents[name]).hexdigest(), "size": len(contents[name])}
        for name in sorted(contents, key=str.encode)
    ]


def tree_digest(entries: Iterable[Mapping[str, Any]]) -> str:
    """sha256 of the lines `HEX<two spaces>PATH`, sorted by the bytes of the path."""
    ordered = sorted(entries, key=lambda entry: entry["path"].encode())
    return digest("".join(f"{entry['sha256']}  {entry['path']}\n" for entry in ordered))


def interface_digest(shapes: Mapping[str, Sequence[int]]) -> str:
    """sha256 of the lines `JSON(name) JSON(shape)`, sorted by name, JSON without spaces; the dtype takes no part."""
    return digest("".join(f"{compact(name)} {compact(list(shapes[name]))}\n" for name in sorted(shapes)))


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """The shape of every tensor in the safetensors files of a folder, from their headers alone."""
    shapes: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        shapes |= {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    return shapes


def compact(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(text: str) -> str:
    """The sha256 of a text in UTF-8, with its name before it."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
