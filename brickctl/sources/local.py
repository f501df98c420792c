"""Bricks in folders of this machine: `path:bricks/date`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.core.brick import File, Pin
from brickctl.core.document import shown
from brickctl.core.names import is_safe_path
from brickctl.core.reference import PathReference
from brickctl.errors import NotFound, PolicyViolation
from brickctl.sources.folder import Folder
from brickctl.sources.naming import file_label, place_label
from brickctl.sources.selection import select, unsafe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.brick import Contents
    from brickctl.core.ports import Progress
    from brickctl.core.reference import Reference
    from brickctl.sources.ledger import Ledger

SCHEME = "path:"
_REPAIR = (
    "if the change was yours, `brickctl update` with the brick's name takes the new content; else restore the file"
)

_RELATIVE = "a path in brick.toml is relative to it, and one on the command line to the current folder"


class LocalSource:
    """A `Source` of folders, relative to the project or absolute; files are used where they lie."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self._root = root
        self._ledger = ledger

    def pin(self, reference: Reference, old: Pin | None = None) -> Pin:
        """Hash the files that belong to the brick; `old` stands if it names the same folder.

        So a folder that changes behind a lock is noticed, not taken over: taking it over is an update, without `old`.
        """
        if not isinstance(reference, PathReference):
            raise TypeError(reference)
        if old is not None and (old.source, old.subfolder) == (str(reference), reference.subfolder):
            return replace(old, license=None)  # what a user says of a folder is not the folder's
        folder = self._folder(str(reference), reference.subfolder)
        files = []
        for path in select(folder.paths(), folder.read, where=str(reference)):
            size, digest = folder.measure(path)
            files.append(File(path=path, size=size, sha256=digest))
        return Pin(source=str(reference), subfolder=reference.subfolder, files=tuple(files))

    def inspect(self, pin: Pin) -> Contents:
        """Documents and headers of the verified files."""
        return self._folder(pin.source, pin.subfolder).contents(pin)

    def locate(self, pin: Pin) -> Mapping[str, Path] | None:
        """The files where they lie, verified; None when one is missing."""
        folder = self._folder_if_any(pin)
        return None if folder is None else folder.locate(pin)

    def places(self, pin: Pin) -> Mapping[str, Path] | None:
        """The files where they lie; None when one is missing."""
        folder = self._folder_if_any(pin)
        return None if folder is None else folder.places(pin)

    def unsafe_files(self, pin: Pin) -> tuple[str, ...]:
        """Pickles and Python in the folder."""
        return unsafe(self._folder(pin.source, pin.subfolder).paths())

    def storage(self, pin: Pin) -> Path | None:  # noqa: ARG002 - files are used where they lie
        """Nowhere."""
        return None

    def fetch(self, pin: Pin, file: File, progress: Progress) -> Path:  # noqa: ARG002 - nothing travels
        """One verified file, where it lies."""
        return self._folder(pin.source, pin.subfolder).fetch(file)

    def _folder_if_any(self, pin: Pin) -> Folder | None:
        try:
            return self._folder(pin.source, pin.subfolder)
        except NotFound:
            return None

    def _folder(self, source: str, subfolder: str | None) -> Folder:
        where = source if subfolder is None else file_label(source, subfolder)
        if subfolder is not None and not is_safe_path(subfolder):
            message = f"{shown(source)} may not have the subfolder {shown(subfolder)}"
            raise PolicyViolation(message, causes=("it leaves the folder",), hint="name a folder inside of it")
        root = self._root / source.removeprefix(SCHEME) / (subfolder or "")
        if not root.is_dir():
            reason = f"{place_label(root)} " + ("is not a folder" if root.exists() else "does not exist")
            raise NotFound(f"{where} is not there", causes=(reason,), hint=_RELATIVE)
        return Folder(root, self._ledger, where=where, repair=_REPAIR)
