"""Derived bricks, which the project has made itself: each version in a folder that is called after its tree digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.brick import DERIVED, File, Pin
from brickctl.errors import NotFound
from brickctl.sources.folder import Folder
from brickctl.sources.selection import select

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.brick import Contents
    from brickctl.core.ports import Progress
    from brickctl.core.reference import Reference
    from brickctl.sources.ledger import Ledger

_FOLDER = ".brickctl/derived"


def derived_folder(root: Path) -> Path:
    """Where the project in `root` keeps what it has derived."""
    return root / _FOLDER


class DerivedSource:
    """A `Source` of what was derived here. Older versions stay, so that an older lock finds what it names."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self._root = derived_folder(root)
        self._ledger = ledger

    def pin(self, reference: Reference, old: Pin | None = None) -> Pin:
        """Nothing refers to a derived brick but its own entry in a lock."""
        del old
        raise TypeError(reference)

    def pin_of(self, name: str, folder: Path) -> Pin:
        """The pin of a brick that was just made in a folder."""
        source = f"{DERIVED}{name}"
        made = Folder(folder, self._ledger, where=source, repair=_again(source))
        files = []
        for path in select(made.paths(), made.read, where=source):
            size, digest = made.measure(path)
            files.append(File(path=path, size=size, sha256=digest))
        return Pin(source=source, files=tuple(files))

    def inspect(self, pin: Pin) -> Contents:
        """Documents and headers of the verified files."""
        return self._folder(pin).contents(pin)

    def locate(self, pin: Pin) -> Mapping[str, Path] | None:
        """The files where they lie, verified; None when one is missing."""
        return self._folder(pin).locate(pin)

    def places(self, pin: Pin) -> Mapping[str, Path] | None:
        """The files where they lie; None when one is missing."""
        return self._folder(pin).places(pin)

    def storage(self, pin: Pin) -> Path | None:  # noqa: ARG002 - files are used where they lie
        """Nowhere."""
        return None

    def fetch(self, pin: Pin, file: File, progress: Progress) -> Path:  # noqa: ARG002 - nothing travels
        """One verified file, where it lies.

        Raises:
            NotFound: it was made on another machine, or removed here.
        """
        if self._folder(pin).find(file.path) is None:
            raise not_here(pin)
        return self._folder(pin).fetch(file)

    def _folder(self, pin: Pin) -> Folder:
        return Folder(self._root / pin.digest, self._ledger, where=pin.source, repair=_again(pin.source))


def not_here(*pins: Pin) -> NotFound:
    """The error about derived bricks, one at least, of which this machine has not all files."""
    *others, last = (f"`{_name(pin.source)}`" for pin in pins)
    them, are = (f"{', '.join(others)} and {last}", "are") if others else (last, "is")
    causes = tuple(
        f"brick.lock has what was made of `{_name(pin.source)}`: sha256:{pin.digest[:12]}..." for pin in pins
    )
    hint = _again(*(pin.source for pin in pins))
    return NotFound(f"{them} {are} derived, and {are} not on this machine", causes=causes, hint=hint)


def _again(*sources: str) -> str:
    them = "it" if len(sources) == 1 else "them"
    command = f"`brickctl derive {' '.join(map(_name, sources))}`"
    return f"{command} makes {them} again; `brickctl vendor` lets the project carry {them}"


def _name(source: str) -> str:
    return source.removeprefix(DERIVED)
