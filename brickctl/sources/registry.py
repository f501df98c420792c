"""Bricks by name and version, from registries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.core.reference import RegistryReference
from brickctl.core.versions import VersionRange, newest, parse_version
from brickctl.errors import IntegrityFault, NotFound
from brickctl.sources.store import SCHEME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from brickctl.core.brick import Contents, File, Pin
    from brickctl.core.ports import Progress, Source
    from brickctl.core.reference import Reference
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.sources.index import Index
    from brickctl.sources.store import Store

_MOST_SHOWN = 10


class RegistrySource:
    """A `Source` of registry names. A line says which files a version has, so pinning takes no request but the index's.

    Files of `index:` lines come from the registry itself; those of `hf:` lines from `hub`, at the line's commit.
    """

    def __init__(self, index: Callable[[str], Index | None], names: tuple[str, ...], hub: Callable[[], Source]) -> None:
        self._index = index
        self._names = names
        self._hub = hub

    def pin(self, reference: Reference, old: Pin | None = None) -> Pin:
        """The newest version in the range that is not yanked; `old`'s version, yanked or not, while it is in the range.

        Raises:
            NotFound: no version will do; the message says which there are.
            IntegrityFault: the version that is locked has other files now.
        """
        if not isinstance(reference, RegistryReference):
            raise TypeError(reference)
        entries = self._named(reference.registry).entries(reference.name)
        wanted = VersionRange.parse(reference.version)
        entry = _kept(old, reference, wanted, entries) or _newest(wanted, entries)
        if entry is None:
            raise _no_version(reference, entries)
        return entry.pin(reference.registry)

    def inspect(self, pin: Pin) -> Contents:
        """As the place of the files does it."""
        return self._place(pin).inspect(pin)

    def locate(self, pin: Pin) -> Mapping[str, Path] | None:
        """As the place of the files does it."""
        return self._place(pin).locate(pin)

    def storage(self, pin: Pin) -> Path | None:
        """As the place of the files does it."""
        return self._place(pin).storage(pin)

    def fetch(self, pin: Pin, file: File, progress: Progress) -> Path:
        """As the place of the files does it."""
        return self._place(pin).fetch(pin, file, progress)

    def _place(self, pin: Pin) -> Store | Source:
        return self._named(pin.registry or "").store if pin.source.startswith(SCHEME) else self._hub()

    def _named(self, name: str) -> Index:
        index = self._index(name)
        if index is None:
            hint = did_you_mean(name, self._names) or f"known here: {', '.join(self._names)}; add it to [registries]"
            raise NotFound(f"there is no registry `{shown(name)}` in brick.toml", hint=hint)
        return index


def _kept(
    old: Pin | None, reference: RegistryReference, wanted: VersionRange, entries: tuple[RegistryEntry, ...]
) -> RegistryEntry | None:
    """The entry of the version that is locked, while it will do; a version that went away does not."""
    if old is None or old.version is None or (old.brick, old.registry) != (reference.name, reference.registry):
        return None
    version = parse_version(old.version)
    entry = next((entry for entry in entries if entry.version == old.version), None)
    if version is None or entry is None or not wanted.contains(version):
        return None
    if entry.digest != old.digest:
        raise IntegrityFault(
            f"registry `{reference.registry}` has other files for `{reference.name}` {old.version} than brick.lock",
            causes=(f"locked sha256:{old.digest[:12]}...", f"offered sha256:{entry.digest[:12]}..."),
            hint="a published version never changes: ask whoever runs the registry; do not update before you know",
        )
    return entry


def _newest(wanted: VersionRange, entries: tuple[RegistryEntry, ...]) -> RegistryEntry | None:
    offered = {version: entry for entry in entries if not entry.yanked and (version := parse_version(entry.version))}
    best = newest(offered, wanted)
    return None if best is None else offered[best]


def _no_version(reference: RegistryReference, entries: tuple[RegistryEntry, ...]) -> NotFound:
    versions = sorted((version, entry) for entry in entries if (version := parse_version(entry.version)))
    texts = [f"{version}{' (yanked)' if entry.yanked else ''}" for version, entry in reversed(versions)]
    there = ", ".join(texts[:_MOST_SHOWN]) or "none"
    more = f" and {len(texts) - _MOST_SHOWN} older ones" if len(texts) > _MOST_SHOWN else ""
    return NotFound(
        f"no version of `{reference.name}` is in `{reference.version}`",
        causes=(f"registry `{reference.registry}` has {there}{more}",),
        hint="ask for another range; yanked versions are kept where they are locked, and never chosen anew",
    )
