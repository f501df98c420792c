"""Inventory: what bricks a project has, from brick.toml and brick.lock alone; no brick is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.licenses import UNKNOWN
from brickctl.core.names import BASE, Alias
from brickctl.core.reference import HubReference, PathReference, RegistryReference
from brickctl.core.staleness import standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Pin
    from brickctl.core.lock import Lock, Locked
    from brickctl.core.manifest import Derived, Manifest, Requirement
    from brickctl.core.reference import Reference

_SHORT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One brick of a project, as far as it is known without looking at it.

    Attributes:
        kind: None where neither the lock nor the manifest says it.
        revision: the locked version, commit or digest, shortened for people; what is asked for while nothing is locked.
        size: bytes of its files; None while nothing is locked.
        source: where it comes from.
        locked: its entry in brick.lock; None where that is missing or was made for other words, or of something else.
    """

    alias: Alias
    kind: str | None
    revision: str
    size: int | None
    license: str
    source: str
    locked: Locked | None

    def document(self) -> dict[str, Any]:
        """The item as JSON."""
        pin = None if self.locked is None else self.locked.pin
        return {
            "name": self.alias,
            "kind": self.kind,
            "revision": self.revision,
            "version": None if pin is None else pin.version,
            "commit": None if pin is None else pin.commit,
            "digest": None if pin is None else f"sha256:{pin.digest}",
            "size": self.size,
            "license": self.license,
            "source": self.source,
            "locked": pin is not None,
        }


def inventory(manifest: Manifest, lock: Lock | None) -> tuple[Item, ...]:
    """The base and every brick, fetched or derived, in the order of brick.toml, then what the lock alone names.

    Raises:
        ManifestInvalid: a derived brick that cannot be read.
    """
    entries = {} if lock is None else standing(manifest, lock)
    named = tuple(
        _wanted(requirement) if alias not in entries else _locked(entries[alias], place_of(requirement.reference))
        for alias, requirement in manifest.requirements.items()
    )
    made = {} if lock is None else _still_good(manifest, lock)
    derived = tuple(
        _locked(made[name], made_from(one)) if name in made else _unmade(one) for name, one in manifest.derived.items()
    )
    needed = () if lock is None else lock.dependencies.values()
    return (*named, *derived, *(_locked(entry, entry.pin.origin) for entry in needed if entry.alias in entries))


def _still_good(manifest: Manifest, lock: Lock) -> Mapping[Alias, Locked]:
    """The derived bricks that were made of what brick.toml and the lock say now."""
    if not manifest.derived:
        return {}
    from brickctl.workflows.derived import State, states  # 150 ms, and most projects derive nothing

    return {name: lock.derived[name] for name, state in states(manifest, lock).items() if state is State.GOOD}


def label(pin: Pin) -> str:
    """The version, else the commit, else the digest of a pin, as short as people write them."""
    return pin.version or (pin.commit or pin.digest)[:_SHORT]


def _locked(entry: Locked, source: str) -> Item:
    pin = entry.pin
    return Item(
        alias=entry.alias,
        kind=entry.kind,
        revision=label(pin),
        size=sum(file.size for file in pin.files),
        license=entry.license,
        source=source if pin.registry is None else f"{pin.brick} in {pin.registry}",
        locked=entry,
    )


def _wanted(requirement: Requirement) -> Item:
    return Item(
        alias=requirement.alias,
        kind=BASE if requirement.alias == BASE else requirement.kind,
        revision=_asked(requirement.reference),
        size=None,
        license=requirement.license or UNKNOWN,
        source=place_of(requirement.reference),
        locked=None,
    )


def _unmade(derived: Derived) -> Item:
    return Item(
        alias=derived.name,
        kind=None,
        revision="-",
        size=None,
        license=UNKNOWN,
        source=made_from(derived),
        locked=None,
    )


def made_from(derived: Derived) -> str:
    """By what a derived brick is made, and from what: `split from base`."""
    return f"{derived.op} from {derived.start if derived.target is None else f'target {derived.target}'}"


def place_of(reference: Reference) -> str:
    """Where a reference points to, without versions: `hf:acme/legal/checkpoint-300`, `acme/sql in corp`."""
    if isinstance(reference, RegistryReference):
        return f"{reference.name} in {' or '.join(reference.registries)}"
    return str(reference) if reference.subfolder is None else f"{reference}/{reference.subfolder}"


def _asked(reference: Reference) -> str:
    """The version that is asked for."""
    if isinstance(reference, PathReference):
        return "-"
    return reference.revision if isinstance(reference, HubReference) else reference.version
