"""Sizes in bytes, as people write them: `5GB` is 5 * 10^9 bytes, `5GiB` is 5 * 2^30."""

from __future__ import annotations

import re
from decimal import Decimal

_DECIMAL = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_UNITS = _DECIMAL | _BINARY
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([A-Za-z]+)")
_LARGEST = 2**63 - 1


def parse_size(text: str) -> int | None:
    """Read a size such as `5GB`, `1.5 GiB` or `512B` as whole bytes; None when it is something else."""
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[2]) if match else None
    if match is None or unit is None:
        return None
    size = Decimal(match[1]) * unit
    return int(size) if size == int(size) and size <= _LARGEST else None


def format_size(size: int) -> str:
    """A size for people: three digits that count, in decimal units (`1.51 MB`, `269 MB`, `861 B`)."""
    unit = next((unit for unit in ("TB", "GB", "MB", "kB") if size >= _DECIMAL[unit]), "B")
    if unit == "B":
        return f"{size} B"
    value = size / _DECIMAL[unit]
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0  # noqa: PLR2004 - where rounding adds a digit
    return f"{value:.{digits}f} {unit}"
