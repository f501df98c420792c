"""Files that a project carries with it, whatever they came from: `vendor/`, which `brickctl vendor` writes.

| path                  | what                                    |
| --------------------- | --------------------------------------- |
| `vendor/brickctl.json`| `{"v":1}`: brickctl made this folder    |
| `vendor/brick.lock`   | the lock whose files these are          |
| `vendor/blobs/HEX`    | a file, by its sha256                   |
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256
from brickctl.core.document import shown
from brickctl.errors import IntegrityFault, Unsupported
from brickctl.sources.contents import read_contents
from brickctl.sources.naming import file_label, place_label
from brickctl.sources.selection import read_json
from brickctl.tensors.header import Header, read_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from brickctl.core.brick import Contents, File, Pin
    from brickctl.core.ports import Progress
    from brickctl.sources.ledger import Ledger

VENDOR = "vendor"
"""The folder of a project that is looked into before all caches and networks."""

MARKER = "brickctl.json"
MARK = b'{"v":1}\n'
BLOBS = "blobs"

_VERSION = 1
_LARGEST_MARK = 1000
_BLOB = re.compile(r"([0-9a-f]{64})(\.corrupt-[0-9]+)?")
_POINTER = b"version https://git-lfs.github.com/spec/"


class VendoredFolder:
    """A folder of files by digest. What somebody else wrote into it is noticed, and left as it is."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self.root = root
        self._ledger = ledger

    def is_ours(self) -> bool:
        """Whether brickctl made this folder: `vendor` is what many programs call one.

        Raises:
            Unsupported: a later brickctl did.
            IntegrityFault: the marker is damaged.
        """
        path = self.root / MARKER
        if not os.path.lexists(path):
            return False
        version = _version(path)
        if version > _VERSION:
            cause = f"{place_label(path)} says version {shown(version)}; this brickctl knows {_VERSION}"
            hint = "upgrade brickctl, or move the folder away and run `brickctl vendor`"
            raise Unsupported(f"{place_label(self.root)} was made by a later brickctl", causes=(cause,), hint=hint)
        return True

    def blob(self, digest: Sha256) -> Path:
        """Where a file is, or would be."""
        return self.root / BLOBS / digest

    def blobs(self) -> Iterator[tuple[Path, Sha256 | None]]:
        """The files that are there, sorted, each with the digest that it is named by; None once it was moved aside."""
        folder = self.root / BLOBS
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():  # noqa: PTH208 - names are looked at first
            match = _BLOB.fullmatch(name)
            if match is not None:
                yield folder / name, None if match[2] else Sha256(match[1])

    def has(self, files: Iterable[File]) -> bool:
        """Whether all of them are there, whatever is in them."""
        return all(os.path.lexists(self.blob(file.sha256)) for file in files)

    def verified(self, file: File, where: str) -> Path:
        """A file that is there, with the content that it should have; `where` is how messages name it.

        Raises:
            IntegrityFault: it has another, or is a link.
        """
        place = self._plain(file, where)
        size = place.lstat().st_size
        if size != file.size:
            raise _changed(place, where, f"it has {size:,} bytes instead of {file.size:,}")
        digest = self._ledger.digest(place)
        if digest != file.sha256:
            raise _changed(place, where, f"its sha256 is {digest[:12]}... instead of {file.sha256[:12]}...")
        return place

    def inspect(self, pin: Pin) -> Contents:
        """Documents and headers, of verified files only."""

        def read(file: File) -> bytes:
            return self._of(pin, file).read_bytes()

        def header(file: File) -> Header:
            return read_header(self._of(pin, file))

        return read_contents(pin, read, header)

    def locate(self, pin: Pin) -> Mapping[str, Path]:
        """The files where they lie, verified."""
        return {file.path: self._of(pin, file) for file in pin.files}

    def places(self, pin: Pin) -> Mapping[str, Path]:
        """The files where they lie."""
        return {file.path: self._plain(file, file_label(pin.source, file.path)) for file in pin.files}

    def storage(self, pin: Pin) -> Path | None:  # noqa: ARG002 - files are used where they lie
        """Nowhere."""
        return None

    def fetch(self, pin: Pin, file: File, progress: Progress) -> Path:  # noqa: ARG002 - nothing travels
        """One verified file, where it lies."""
        return self._of(pin, file)

    def _of(self, pin: Pin, file: File) -> Path:
        return self.verified(file, file_label(pin.source, file.path))

    def _plain(self, file: File, where: str) -> Path:
        place = self.blob(file.sha256)
        if not stat.S_ISREG(place.lstat().st_mode):
            raise _changed(place, where, "it is a link, a folder or a device, and not a file")
        return place


def _version(marker: Path) -> int:
    found = marker.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST_MARK:
        raise _damaged(marker)
    try:
        version = read_json(marker.read_bytes(), where=place_label(marker)).get("v")
    except IntegrityFault:
        raise _damaged(marker) from None
    if not isinstance(version, int) or isinstance(version, bool) or version < _VERSION:
        raise _damaged(marker)
    return version


def _repair(place: Path) -> str:
    """What to do about a file of a vendored folder that is not what it should be."""
    if place.lstat().st_size <= _LARGEST_MARK and place.is_file() and place.read_bytes().startswith(_POINTER):
        return "only the pointer of git-lfs is there: run `git lfs pull`"
    return "`brickctl vendor` puts the file there that brick.lock names; or restore it from where the project came"


def _changed(place: Path, where: str, reason: str) -> IntegrityFault:
    causes = (f"it lies in {place_label(place)}", reason)
    return IntegrityFault(f"{where} is not what was vendored", causes=causes, hint=_repair(place))


def _damaged(marker: Path) -> IntegrityFault:
    cause = f"it is not the small file that `brickctl vendor` writes, {MARK.decode().strip()}"
    hint = "restore it; or move the whole folder away, and run `brickctl vendor`"
    return IntegrityFault(f"{place_label(marker)} is damaged", causes=(cause,), hint=hint)
