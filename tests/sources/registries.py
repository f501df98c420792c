"""Registries in folders, and the sources of a project that uses one as `corp`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from brickctl.core.brick import File
from brickctl.core.digests import Sha256, interface_digest
from brickctl.core.reference import RegistryReference
from brickctl.core.registry_line import RegistryEntry, encode_line
from brickctl.sources.open import Sources, open_sources
from tests.sources.bricks import model, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.brick import Pin
    from tests.sources.bricks import Amounts

SQL = RegistryReference(name="acme/sql", version="^1", registry="corp")


def entry(version: str, files: Mapping[str, bytes], *, yanked: bool = False, name: str = "acme/sql") -> RegistryEntry:
    listed = [File(path=path, size=len(content), sha256=_sha256(content)) for path, content in files.items()]
    return RegistryEntry(
        name=name,
        version=version,
        kind="expert",
        source=f"index:{name}/{version}",
        files=tuple(sorted(listed)),
        interface=interface_digest({"a": (4, 8), "b": (4, 8)}),
        license="MIT",
        yanked=yanked,
    )


def _sha256(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


def publish(root: Path, *entries: RegistryEntry, files: Mapping[str, bytes] | None = None) -> Path:
    """Write a registry with these lines, and the same files for each version."""
    write(root, {"config.json": b'{"v":1}\n', f"index/{entries[0].name}": b"".join(map(encode_line, entries))})
    for each in entries:
        write(root / "files" / each.name / each.version, model() if files is None else files)
    return root


def opened(tmp_path: Path, address: str, *, offline: bool = False) -> Sources:
    return open_sources(tmp_path, {"corp": address}, offline=offline, cache=tmp_path / "cache")


def install(bricks: Sources, pin: Pin, amounts: Amounts) -> dict[str, Path]:
    return {file.path: bricks.fetch(pin, file, amounts) for file in pin.files}
