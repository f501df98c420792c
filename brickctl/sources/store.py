"""What a registry is made of: pages of the index, and folders of files, under one root.

| path                            | what                                    |
| ------------------------------- | --------------------------------------- |
| `config.json`                   | `{"v":1}`, and where the snapshot is    |
| `index/NAMESPACE/NAME`          | the versions of a brick, one line each  |
| `files/NAMESPACE/NAME/VERSION/` | the files of `index:` sources           |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from brickctl.core.document import shown
from brickctl.core.names import is_brick_name, is_safe_path
from brickctl.core.versions import parse_version
from brickctl.errors import LockInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.brick import Contents, File, Pin
    from brickctl.core.ports import Progress
    from brickctl.sources.pages import Page

LARGEST_PAGE = 8_000_000
"""Bytes of an index page that are read: thousands of versions."""

SCHEME = "index:"


class Store(Protocol):
    """A place where a registry is kept; errors as those of a `Source`."""

    address: str

    def page(self, path: str) -> Page | None:
        """A document as it is now; None when there is none."""

    def packed(self, path: str, known: Page, *, limit: int) -> Page | None:
        """A large document, of which no copy is kept; `known` itself if it has not changed, None when there is none."""

    def names(self, limit: int) -> tuple[str, ...] | None:
        """Every brick, sorted; None where they cannot be listed at once, or are more than `limit`."""

    def names_near(self, name: str) -> tuple[str, ...]:
        """Some bricks with names like this one, for suggestions: what can be said at once, and without the network."""

    def inspect(self, pin: Pin) -> Contents:
        """As `Source.inspect`."""

    def locate(self, pin: Pin) -> Mapping[str, Path] | None:
        """As `Source.locate`."""

    def places(self, pin: Pin) -> Mapping[str, Path] | None:
        """As `Source.places`."""

    def storage(self, pin: Pin) -> Path | None:
        """As `Source.storage`."""

    def fetch(self, pin: Pin, file: File, progress: Progress) -> Path:
        """As `Source.fetch`."""


def index_path(name: str) -> str:
    """Where the lines of a brick stand."""
    return f"index/{name}"


def brick_folder(pin: Pin) -> str:
    """Where the files of an `index:` pin stand, checked: a lock is a text file that anyone may have edited.

    Raises:
        LockInvalid: the source is not `index:namespace/name/version`, or a path leaves the folder.
    """
    name, _, version = pin.source.removeprefix(SCHEME).rpartition("/")
    sound = pin.source.startswith(SCHEME) and is_brick_name(name) and parse_version(version) is not None
    parts = [file.path for file in pin.files] + ([] if pin.subfolder is None else [pin.subfolder])
    if not sound or not all(is_safe_path(path) for path in parts):
        raise LockInvalid(f"{shown(pin.source)} is not pinned to safe paths", hint="run `brickctl lock` again")
    folder = f"files/{name}/{version}"
    return folder if pin.subfolder is None else f"{folder}/{pin.subfolder}"
