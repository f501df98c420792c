"""What was measured of candidates, kept in SQLite, where a search that was stopped finds it again.

It goes through the same trials once more, and those that are here take no time. Not the sampler is stored but what it
was told, so what it asks next follows from its seed alone; and no library's state is read back from a file that anybody
may have written.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from brickctl.errors import BrickctlError, Busy, NoSpace, UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.ports import Events

FILE = "measured.sqlite"
_TABLE = """CREATE TABLE IF NOT EXISTS measured (
    key TEXT, name TEXT, value REAL NOT NULL, PRIMARY KEY (key, name)
) WITHOUT ROWID"""
_PATIENCE = 60.0
"""Seconds to wait for another process that writes."""

_DAMAGED = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR})
"""Of a file that is no database, or has a table of another shape."""

_FAULTS: Mapping[int | None, tuple[type[BrickctlError], str]] = {
    sqlite3.SQLITE_FULL: (NoSpace, "make room on its disk, then run this again: what was measured is kept"),
    sqlite3.SQLITE_BUSY: (Busy, "another search is writing: run this again when it is done"),
}


class Measured:
    """Named numbers, by the digest of all that they follow from."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def get(self, key: Sha256, name: str) -> float | None:
        """What was measured; infinite where there was no number."""
        with _told(self._path):
            found = self._connection.execute("SELECT value FROM measured WHERE key = ? AND name = ?", (key, name))
            row = found.fetchone()
        return row[0] if row is not None and isinstance(row[0], float) else None

    def keep(self, key: Sha256, name: str, value: float) -> None:
        """Store a number at once, whole or not at all; NaN is none.

        Raises:
            NoSpace, Busy, BrickctlError: the file cannot be written.
        """
        with _told(self._path):
            self._connection.execute("INSERT OR REPLACE INTO measured VALUES (?, ?, ?)", (key, name, value))


@contextmanager
def opened(folder: Path, events: Events) -> Iterator[Measured]:
    """The numbers in a folder; a file that is no database is a cache that was damaged, and begun anew.

    Raises:
        UsageFault: it is a link.
        NoSpace, Busy, BrickctlError: it can be neither read nor made; what it holds stays.
    """
    path = folder / FILE
    if path.is_symlink():
        cause = "brickctl writes through no link"
        raise UsageFault(f"{path} will not be used", causes=(cause,), hint="remove the link; nothing was changed")
    with _told(path):
        try:
            connection = _connected(path)
        except sqlite3.DatabaseError as error:
            if _code(error) not in _DAMAGED:
                raise
            events.note(f"{path} could not be read, and is begun anew")
            path.unlink(missing_ok=True)
            connection = _connected(path)
    with closing(connection):
        yield Measured(connection, path)


def _code(error: sqlite3.Error) -> int | None:
    """The primary code of SQLite, without what extends it; None where the error is not of SQLite itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What SQLite says of the file, as errors that help; one that is locked or on a full disk is not damaged."""
    try:
        yield
    except sqlite3.Error as error:
        kind, hint = _FAULTS.get(_code(error), (BrickctlError, f"look after {path}: you must be able to write it"))
        raise kind(f"{path} cannot be used", causes=(str(error),), hint=hint) from error


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    try:
        connection.execute(_TABLE)
        connection.execute("SELECT key, name, value FROM measured LIMIT 1").fetchone()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
