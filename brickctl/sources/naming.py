"""How messages and progress name what comes from outside: printable, whatever somebody called it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.document import WHOLE, shown

if TYPE_CHECKING:
    from pathlib import Path


def file_label(source: str, path: str) -> str:
    """A file of a brick, `hf:owner/name/config.json`; no two files have one label."""
    return f"{shown(source, longest=WHOLE)}/{shown(path, longest=WHOLE)}"


def place_label(place: Path) -> str:
    """A file or folder of this machine, whole, so that it can be found."""
    return shown(str(place), longest=WHOLE)


def address_label(address: str) -> str:
    """An address without the user and password that someone may have put into it."""
    scheme, separator, rest = address.rpartition("://")
    host, slash, path = rest.partition("/")
    return shown(f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}")
