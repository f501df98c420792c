"""A registry in a folder: the one inside brickctl, a `file:` address, a git checkout. Files are used where they lie."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.names import is_brick_name, nearest
from brickctl.sources.folder import Folder
from brickctl.sources.naming import place_label
from brickctl.sources.pages import Page, too_large
from brickctl.sources.store import LARGEST_PAGE, brick_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.brick import Contents, File, Pin
    from brickctl.core.ports import Progress
    from brickctl.sources.ledger import Ledger

_REPAIR = "restore the registry's folder from where it came"


_MOST_LISTED = 1_000
_MOST_FOLDERS = 10
"""Of a registry of 200,000 bricks only a part is looked at for a suggestion."""


class FolderStore:
    """A `Store` on this machine."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self.address = root.resolve().as_uri()
        self._root = root
        self._ledger = ledger

    def page(self, path: str) -> Page | None:
        """A document; None when there is none."""
        return self.packed(path, Page(b""), limit=LARGEST_PAGE)

    def packed(self, path: str, known: Page, *, limit: int) -> Page | None:
        """A document; what is known where the file is the very same."""
        found = Folder(self._root, self._ledger, where=self.address, repair=_REPAIR).find(path)
        if found is None:
            return None
        with found.open("rb") as file:
            status = os.fstat(file.fileno())
            tag = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"
            if tag == known.etag:
                return known
            body = file.read(limit + 1)
        if len(body) > limit:
            raise too_large(place_label(found), limit)
        return Page(body, tag)

    def names(self, limit: int) -> tuple[str, ...] | None:
        """Every brick of the index, if there are few; a file that is named as no brick can be is none."""
        paths = itertools.islice((self._root / "index").glob("*/*"), limit + 1)
        names = sorted(f"{path.parent.name}/{path.name}" for path in paths)
        return None if len(names) > limit else tuple(name for name in names if is_brick_name(name))

    def names_near(self, name: str) -> tuple[str, ...]:
        """The bricks of this namespace and of the one with the most similar name: of each so many at most.

        A file that is named as no brick can be is none.
        """
        index = self._root / "index"
        own = shown(name).partition("/")[0].lower()
        others = _listed(index)
        folders = [own, nearest(own, (other for other in others if other != own)) or own]
        if "/" not in name:
            folders += others[:_MOST_FOLDERS]
        sound = [folder for folder in dict.fromkeys(folders) if is_brick_name(f"{folder}/x")]
        found = (f"{folder}/{each}" for folder in sound for each in _listed(index / folder))
        return tuple(sorted(each for each in found if is_brick_name(each)))

    def inspect(self, pin: Pin) -> Contents:
        """Documents and headers of the verified files."""
        return self._folder(pin).contents(pin)

    def locate(self, pin: Pin) -> Mapping[str, Path] | None:
        """The files where they lie, verified."""
        return self._folder(pin).locate(pin)

    def places(self, pin: Pin) -> Mapping[str, Path] | None:
        """The files where they lie."""
        return self._folder(pin).places(pin)

    def storage(self, pin: Pin) -> Path | None:  # noqa: ARG002 - files are used where they lie
        """Nowhere."""
        return None

    def fetch(self, pin: Pin, file: File, progress: Progress) -> Path:  # noqa: ARG002 - nothing travels
        """One verified file, where it lies."""
        return self._folder(pin).fetch(file)

    def _folder(self, pin: Pin) -> Folder:
        return Folder(self._root / brick_folder(pin), self._ledger, where=pin.source, repair=_REPAIR)


def _listed(folder: Path) -> list[str]:
    """Some names in a folder; none where it is no folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in itertools.islice(entries, _MOST_LISTED))
    except OSError:
        return []
