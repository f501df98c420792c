"""`brick.export.json`: the mark of an export: what was exported, how, and every file of it with its digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.brick import File
from brickctl.core.digests import readable_json
from brickctl.core.document import Table, shown
from brickctl.core.names import is_safe_path
from brickctl.errors import BrickctlError, IntegrityFault
from brickctl.exports.export_format import Written
from brickctl.sources.selection import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.sources.ledger import Ledger

FILE = "brick.export.json"
"""A folder without it is never replaced."""

_SCHEMA = 1
_LARGEST = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What an export says of itself.

    Attributes:
        definition: what decides every byte of it.
        files: by path, without the record.
        written: what there was to say of it.
    """

    definition: Mapping[str, Any]
    files: tuple[File, ...]
    written: Written


def encode(record: Record) -> bytes:
    """The file; nothing of time or place stands in it."""
    files = [{"path": file.path, "sha256": file.sha256, "size": file.size} for file in sorted(record.files)]
    said = {"commands": list(record.written.commands), "notes": list(record.written.notes)}
    return readable_json({"schema": _SCHEMA, **record.definition, **said, "files": files})


def read_record(folder: Path) -> Record | None:
    """What an export says of itself; None where the folder is none.

    Raises:
        IntegrityFault: the record is damaged.
    """
    place = folder / FILE
    if not place.is_file() or place.is_symlink():
        return None
    if place.stat().st_size > _LARGEST:
        raise _damaged(place, f"it has more than {_LARGEST:,} bytes")
    try:
        document = dict(read_json(place.read_bytes(), where=FILE))
        return _parse(document)
    except IntegrityFault as fault:
        raise _damaged(place, "; ".join((fault.message, *fault.causes))) from None


def is_current(record: Record | None, definition: Mapping[str, Any], folder: Path, ledger: Ledger) -> bool:
    """Whether an export was made by this definition, and nobody has touched it since."""
    if record is None or record.definition != definition:
        return False
    try:
        return all(ledger.digest(folder / file.path) == file.sha256 for file in record.files)
    except (BrickctlError, OSError):
        return False


def _parse(document: dict[str, Any]) -> Record:
    files = Table(document, file=FILE, fault=IntegrityFault).tables_or_none("files") or ()
    said = {key: _strings(document.pop(key, [])) for key in ("commands", "notes")}
    document.pop("files", None)
    if document.pop("schema", None) != _SCHEMA:
        raise IntegrityFault(f"{FILE} is of another version")
    return Record(definition=document, files=tuple(map(_file, files)), written=Written(**said))


def _file(table: Table) -> File:
    path = table.string("path")
    if not is_safe_path(path):
        raise table.error(f"`files` names {shown(path)}, which no export has")
    return File(path=path, size=table.integer("size"), sha256=table.string("sha256"))  # type: ignore[arg-type]


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise IntegrityFault(f"{FILE} has something else than texts where texts belong")
    return tuple(value)


def _damaged(place: Path, reason: str) -> IntegrityFault:
    hint = "remove the folder, and export again"
    return IntegrityFault(f"{place} is damaged", causes=(reason,), hint=hint)
