"""Mirror: offer a vendored folder to programs that know the Hub."""

from __future__ import annotations

import errno
import os
import socket
from functools import partial
from typing import TYPE_CHECKING

from brickctl.core.lock_format import decode
from brickctl.errors import Busy, LockInvalid, NotFound, UsageFault
from brickctl.mirror.repositories import shelf_of
from brickctl.mirror.server import Mirror
from brickctl.sources.ledger import Ledger
from brickctl.sources.vendored import VendoredFolder
from brickctl.workflows.parallel import cores_of_process, in_parallel
from brickctl.workflows.session import LOCK, cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.core.brick import File
    from brickctl.core.lock import Lock
    from brickctl.core.ports import Events

_AGAIN = "run `brickctl vendor` again"
_LARGEST_LOCK = 64_000_000


def open_mirror(folder: Path, events: Events, *, host: str, port: int) -> Mirror:
    """A server of what lies in a folder, ready to be started; every file was verified.

    Raises:
        NotFound: the folder is not one that `brickctl vendor` wrote, or a file is missing in it.
        IntegrityFault: a file is not what the lock beside it says.
        Busy, UsageFault: the address cannot be had.
    """
    vendored = VendoredFolder(folder, Ledger(cache_folder() / "ledger", events))
    if not vendored.is_ours():
        cause = f"{folder} has no marker of `brickctl vendor`" if folder.exists() else f"{folder} does not exist"
        hint = "run `brickctl vendor` in a project, or name the folder that it wrote"
        raise NotFound("there are no vendored bricks to serve", causes=(cause,), hint=hint)
    shelf = shelf_of(_read_lock(folder / LOCK))
    for note in shelf.notes:
        events.note(f"note: {note}")
    if not shelf.repositories:
        hint = "only bricks of the Hub and of registries have a name that others can ask for"
        raise NotFound(f"no brick in {folder} can be served", hint=hint)
    largest_first = sorted(shelf.files, key=lambda file: -file.size)
    place = partial(_place, vendored)
    in_parallel(place, largest_first, threads=cores_of_process())
    try:
        return Mirror(shelf, place, host=host, port=port, warn=events.warn)
    except (OSError, UnicodeError) as error:
        raise _no_address(host, port, error) from error


def _place(vendored: VendoredFolder, file: File) -> Path:
    """A verified file; one that the ledger knows is not read again."""
    place = vendored.blob(file.sha256)
    if not os.path.lexists(place):
        raise NotFound(f"{place} is missing", hint=_AGAIN)
    return vendored.verified(file, file.path)


def _read_lock(path: Path) -> Lock:
    """The lock that lies beside the files."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_LOCK).decode()
    except FileNotFoundError:
        raise NotFound(f"{path} is missing", hint=_AGAIN) from None
    except UnicodeDecodeError:
        raise LockInvalid(f"{path} is not text", hint=_AGAIN) from None
    try:
        return decode(text, file=str(path))
    except LockInvalid as invalid:
        raise LockInvalid(invalid.message, causes=invalid.causes, place=invalid.place, hint=_AGAIN) from None


def _no_address(host: str, port: int, error: Exception) -> Busy | UsageFault:
    where = f"{host}:{port}"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return Busy(f"another program listens at {where}", hint="choose another port; 0 takes one that is free")
    reason = str(error.strerror if isinstance(error, OSError) else error).lower()
    hint = "choose a port above 1023" if isinstance(error, PermissionError) else "name an address of this machine"
    if isinstance(error, socket.gaierror):
        hint = "name an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all that it has"
    return UsageFault(f"nobody can listen at {where}", causes=(reason,), hint=hint)
