"""Files of a shared cache against what a pin says of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from brickctl.errors import IntegrityFault
from brickctl.sources.naming import place_label
from brickctl.sources.quarantine import quarantine

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.core.brick import File
    from brickctl.sources.ledger import Ledger


def verified(place: Path, file: File, ledger: Ledger, *, cache: Path, where: str) -> Path:
    """`place`, if its content is what the pin says; else it is moved aside, so that nobody is given it again.

    Raises:
        IntegrityFault: size or digest differ.
    """
    size = place.stat().st_size
    if size != file.size:
        raise put_aside(place, cache, where=where, reason=f"it has {size:,} bytes instead of {file.size:,}")
    digest = ledger.digest(place)
    if digest != file.sha256:
        reason = f"its sha256 is {digest[:12]}... instead of {file.sha256[:12]}..."
        raise put_aside(place, cache, where=where, reason=reason)
    return place


def put_aside(place: Path, cache: Path, *, where: str, reason: str) -> IntegrityFault:
    """Quarantine a file and make the error to raise."""
    aside = quarantine(place, cache)
    kept = () if aside is None else (f"the copy is kept as {place_label(aside)}",)
    hint = "run the command again to fetch it anew; if it fails again, the server has other bytes than were pinned"
    if os.path.lexists(place):
        hint = (
            f"it lies outside the cache, or may not be moved: move {place_label(place)} away, and run the command again"
        )
    return IntegrityFault(f"{where} is not what was promised", causes=(reason, *kept), hint=hint)
