"""Bricks by name and version, from registries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.core.reference import RegistryReference
from brickctl.core.versions import VersionRange, newest
from brickctl.errors import IntegrityFault, NotFound
from brickctl.sources.store import SCHEME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from brickctl.core.advisories import Advisory
    from brickctl.core.brick import Contents, File, Pin
    from brickctl.core.ports import Progress, Source
    from brickctl.core.reference import Reference
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.core.versions import Version
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
        reference = self.placed(reference, old)
        entries = self.versions(reference)
        wanted = VersionRange.parse(reference.version)
        entry = kept(old, reference, entries)
        if entry is None or not wanted.contains(entry.semver):
            entry = _newest(wanted, entries)
        if entry is None:
            raise no_version(reference, ((one.semver, "yanked" if one.yanked else None) for one in entries))
        return entry.pin(reference.registry)

    def placed(self, reference: RegistryReference, old: Pin | None = None) -> RegistryReference:
        """The reference with the one registry that it means: that of `old`, else the first that has the name.

        The next one is asked only if the one before says that it has no such name. A server that fails, that may not
        be asked, or whose answer is not sound says nothing of the kind: else whoever can disturb a private registry
        could put a brick of a public one in its place. For the same reason a brick stays in the registry of its lock.

        Raises:
            NotFound: none of several has it.
        """
        if old is not None and old.brick == reference.name and old.registry in reference.registries:
            return replace(reference, registry=old.registry, others=())
        if not reference.others:
            return reference
        for name in reference.registries:
            if self._named(name).find(reference.name) is not None:
                return replace(reference, registry=name, others=())
        listed = ", ".join(f"`{name}`" for name in reference.registries)
        known = (near for name in reference.registries for near in self._named(name).store.names_near(reference.name))
        hint = did_you_mean(reference.name, known) or "look for it with `brickctl search`"
        raise NotFound(f"none of the registries {listed} has a brick `{shown(reference.name)}`", hint=hint)

    def versions(self, reference: RegistryReference) -> tuple[RegistryEntry, ...]:
        """As `Bricks.versions`."""
        return self._named(reference.registry).entries(reference.name)

    def advisories(self, registry: str) -> tuple[Advisory, ...]:
        """As `Bricks.advisories`."""
        return self._named(registry).advisories()

    def inspect(self, pin: Pin) -> Contents:
        """As the place of the files does it."""
        return self._place(pin).inspect(pin)

    def locate(self, pin: Pin) -> Mapping[str, Path] | None:
        """As the place of the files does it."""
        return self._place(pin).locate(pin)

    def places(self, pin: Pin) -> Mapping[str, Path] | None:
        """As the place of the files does it."""
        return self._place(pin).places(pin)

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


def kept(old: Pin | None, reference: RegistryReference, entries: tuple[RegistryEntry, ...]) -> RegistryEntry | None:
    """The entry of the version that is locked, yanked or not; a version that went away is none.

    Raises:
        IntegrityFault: it has other files now.
    """
    if old is None or (old.brick, old.registry) != (reference.name, reference.registry):
        return None
    entry = next((entry for entry in entries if entry.version == old.version), None)
    if entry is not None and entry.digest != old.digest:
        raise IntegrityFault(
            f"registry `{reference.registry}` has other files for `{reference.name}` {old.version} than brick.lock",
            causes=(f"locked sha256:{old.digest[:12]}...", f"offered sha256:{entry.digest[:12]}..."),
            hint="a published version never changes: ask whoever runs the registry; do not update before you know",
        )
    return entry


def _newest(wanted: VersionRange, entries: tuple[RegistryEntry, ...]) -> RegistryEntry | None:
    offered = {entry.semver: entry for entry in entries if not entry.yanked}
    best = newest(offered, wanted)
    return None if best is None else offered[best]


def no_version(reference: RegistryReference, versions: Iterable[tuple[Version, str | None]]) -> NotFound:
    """The error about a range without a version, to be raised by the caller; versions with why they may not be had."""
    texts = [f"{version}{'' if why is None else f' ({why})'}" for version, why in sorted(versions, reverse=True)]
    there = ", ".join(texts[:_MOST_SHOWN]) or "none"
    more = f" and {len(texts) - _MOST_SHOWN} older ones" if len(texts) > _MOST_SHOWN else ""
    return NotFound(
        f"no version of `{reference.name}` is in `{reference.version}`",
        causes=(f"registry `{reference.registry}` has {there}{more}",),
        hint="ask for another range; yanked versions are kept where they are locked, and never chosen anew",
    )
