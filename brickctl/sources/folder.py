"""Pinned files in a folder of this machine, read in place: a `path:` brick, or one in a registry that is a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.errors import IntegrityFault, NotFound, PolicyViolation
from brickctl.sources.contents import LARGEST_DOCUMENT, read_contents
from brickctl.sources.naming import file_label, place_label
from brickctl.sources.selection import DAMAGED, check_path
from brickctl.tensors.header import Header, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.brick import Contents, File, Pin
    from brickctl.core.digests import Sha256
    from brickctl.sources.ledger import Ledger

_DEEPEST = 3
_MOST_FILES = 10_000


class Folder:
    """A folder with the files of one brick; none of them may be a link that leaves it.

    `where` is how messages name it, `repair` what to do when a file is not what a pin says.
    """

    def __init__(self, root: Path, ledger: Ledger, *, where: str, repair: str) -> None:
        self._root = root
        self._ledger = ledger
        self._where = where
        self._repair = repair

    def paths(self) -> Iterator[str]:
        """Files below the folder as POSIX paths, a few levels deep; hidden folders and linked ones are left out."""
        count = 0
        for base, folders, names in os.walk(self._root):
            below = os.path.relpath(base, self._root).replace(os.sep, "/")
            prefix = "" if below == "." else f"{below}/"
            deep = prefix.count("/") >= _DEEPEST
            folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
            yield from (prefix + name for name in names)
            count += len(names)
            if count > _MOST_FILES:
                return

    def find(self, path: str) -> Path | None:
        """Where a file lies; None if it is not there.

        Raises:
            PolicyViolation: it is no regular file, or a link that leaves the folder.
        """
        check_path(path, where=self._where)
        found = self._root / path
        if not os.path.lexists(found):
            return None
        real = Path(os.path.realpath(found))  # unlike Path.resolve, it takes links that lead to themselves
        if not real.is_relative_to(os.path.realpath(self._root)):
            raise PolicyViolation(
                f"{self._where} has a link that leaves it",
                causes=(f"{shown(path)} points to {place_label(real)}",),
                hint="replace the link by the file itself; `cp -rL` copies a folder so",
            )
        if not found.exists():
            return None
        if not found.is_file():
            raise PolicyViolation(
                f"{file_label(self._where, path)} is not a file",
                causes=("a brick is made of plain files; this is a folder, a device or a pipe",),
                hint="move it away, and put the file there that should have this name",
            )
        return found

    def measure(self, path: str) -> tuple[int, Sha256]:
        """Size and digest of a file that was listed.

        Raises:
            NotFound: it went away.
            IntegrityFault: it changed while it was read.
        """
        found = self._present(path)
        digest = self._ledger.digest(found)
        return found.stat().st_size, digest

    def read(self, path: str) -> bytes:
        """The bytes of a small document that was listed."""
        found = self._present(path)
        with found.open("rb") as file:
            content = file.read(LARGEST_DOCUMENT + 1)
        if len(content) > LARGEST_DOCUMENT:
            message = f"{file_label(self._where, path)} is too large to be read"
            reason = f"it has more than {LARGEST_DOCUMENT:,} bytes; brickctl parses no more"
            raise IntegrityFault(message, causes=(reason,), hint=DAMAGED)
        return content

    def locate(self, pin: Pin) -> dict[str, Path] | None:
        """Verified paths of all files of a pin; None when one is missing."""
        found = self.places(pin)
        if found is not None:
            for file in pin.files:
                self._verify(file, found[file.path])
        return found

    def places(self, pin: Pin) -> dict[str, Path] | None:
        """Paths of all files of a pin, whatever is in them; None when one is missing."""
        found = {file.path: place for file in pin.files if (place := self.find(file.path)) is not None}
        return found if len(found) == len(pin.files) else None

    def fetch(self, file: File) -> Path:
        """One verified file; nothing is moved.

        Raises:
            NotFound: it is not there.
            IntegrityFault: it is not what the pin says.
        """
        found = self._present(file.path)
        self._verify(file, found)
        return found

    def contents(self, pin: Pin) -> Contents:
        """Documents and headers, of verified files only."""

        def read(file: File) -> bytes:
            return self.fetch(file).read_bytes()

        def header(file: File) -> Header:
            return read_header(self.fetch(file))

        return read_contents(pin, read, header)

    def _present(self, path: str) -> Path:
        found = self.find(path)
        if found is None:
            raise NotFound(f"{file_label(self._where, path)} is not there", hint=self._repair)
        return found

    def _verify(self, file: File, place: Path) -> None:
        size = place.stat().st_size
        if size != file.size:
            raise self._changed(file, f"it has {size:,} bytes instead of {file.size:,}")
        digest = self._ledger.digest(place)
        if digest != file.sha256:
            raise self._changed(file, f"its sha256 is {digest[:12]}... instead of {file.sha256[:12]}...")

    def _changed(self, file: File, reason: str) -> IntegrityFault:
        message = f"{file_label(self._where, file.path)} is not what was locked"
        return IntegrityFault(message, causes=(reason,), hint=self._repair)
