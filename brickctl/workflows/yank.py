"""Yank: a published version is not chosen any more; whoever has locked it keeps it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.workflows.publishing import writing

if TYPE_CHECKING:
    from brickctl.core.ports import Events
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.sources.checkout import Checkout


def yank(checkout: Checkout, name: str, version: str, events: Events, *, undo: bool) -> tuple[RegistryEntry, bool]:
    """Take a version back, or with `undo` give it again; the line, and whether it had to be written.

    Raises:
        NotFound: there is no such version, or no registry.
        IntegrityFault, Unsupported: its lines cannot be read.
        UsageFault: they lie behind a link.
    """
    with writing(checkout, name, version, events):
        entry = checkout.find(name, version)
        changed = replace(entry, yanked=not undo)
        if changed == entry:
            return entry, False
        checkout.replace_line(changed)
    return changed, True
