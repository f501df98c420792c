"""Whether brick.lock says what brick.toml says: the echo that a lock keeps of its manifest, compared in sentences."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.names import BASE
from brickctl.core.needs import faults
from brickctl.core.reference import HubReference, RegistryReference
from brickctl.core.versions import VersionRange, parse_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.lock import Lock, Locked
    from brickctl.core.manifest import Manifest, Requirement
    from brickctl.core.names import Alias

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NEXT = ", "
"""Between registries of which the next is asked if those before it have no such name."""

_GONE = "`{0}` is in the lock and no longer in brick.toml"

_WANTS = {
    "kind": "{0} has the kind {1}",
    "license": "{0} has the license {1}",
    "registry": "{0} is asked for in the registry {1}",
    "revision": "{0} wants revision {1}",
    "subfolder": "{0} lies in the subfolder {1}",
    "version": "{0} wants {1}",
}


def echo(manifest: Manifest) -> dict[str, Any]:
    """The part of a manifest that decides what is locked, in the normal form of `[manifest]` in brick.lock.

    Plain tables of strings, sorted. Defaults are written out (a revision `main`, the default registry), ranges have
    their normal form; so manifests that mean the same have equal echoes.
    """
    bricks = {name: _echo_requirement(manifest.bricks[name]) for name in sorted(manifest.bricks)}
    registries = {name: manifest.registries[name] for name in sorted(manifest.registries)}
    parts = {"base": _echo_requirement(manifest.base), "bricks": bricks, "registries": registries}
    return {key: value for key, value in parts.items() if value}


def stale_reasons(manifest: Manifest, lock: Lock) -> tuple[str, ...]:
    """Why the lock does not say what the manifest says, one sentence each; empty when it does."""
    wanted, locked = echo(manifest), lock.manifest
    reasons = [*_differences("the base", wanted["base"], locked.get("base", {}))]
    reasons += _brick_reasons(wanted.get("bricks", {}), locked.get("bricks", {}), lock)
    reasons += _registry_reasons(wanted.get("registries", {}), locked.get("registries", {}))
    reasons += [_GONE.format(name) for name in lock.derived if name not in manifest.derived]
    if not reasons:
        asked = manifest.requirements
        named = {BASE: lock.base, **lock.bricks}
        reasons += [reason for alias, entry in named.items() for reason in _misplaced(asked[alias], entry)]
        reasons += faults(lock)
    return tuple(reasons)


def standing(manifest: Manifest, lock: Lock) -> dict[Alias, Locked]:
    """The entries of a lock, stale or not, that are still asked for in the words for which they were locked.

    What bricks need, and brick.toml does not name, stands while its registry is where it was.
    """
    now, before = _words(echo(manifest)), _words(lock.manifest)
    named = {BASE: lock.base, **lock.bricks}
    same = {alias: entry for alias, entry in named.items() if now.get(alias, ()) == before.get(alias)}
    entries = {alias: entry for alias, entry in same.items() if not [*_misplaced(manifest.requirements[alias], entry)]}
    addresses = lock.manifest.get("registries", {})
    unnamed = lock.dependencies.items()
    return entries | {
        name: entry
        for name, entry in unnamed
        if manifest.registries.get(entry.pin.registry or "") == addresses.get(entry.pin.registry)
    }


def _misplaced(requirement: Requirement, entry: Locked) -> Iterator[str]:
    """What an entry itself says otherwise than the words for which it was locked: then somebody edited the lock.

    Where the files of a registry's brick are is the business of the registry.
    """
    reference, pin = requirement.reference, entry.pin
    pairs: dict[str, tuple[str | None, str | None]] = {}
    if isinstance(reference, RegistryReference):
        version = None if pin.version is None else parse_version(pin.version)
        fits = version is not None and VersionRange.parse(reference.version).contains(version)
        pairs["brick"] = (reference.name, pin.brick)
        asked = _list(reference)
        pairs["registry"] = (asked, asked if pin.registry in reference.registries else pin.registry)
        pairs["version"] = (reference.version, pin.version if not fits else reference.version)
    else:
        pairs["source"] = (str(reference), pin.source)
        pairs["subfolder"] = (reference.subfolder, pin.subfolder)
        pairs["brick"] = (None, pin.brick)
    pairs["kind"] = (requirement.kind or entry.kind, entry.kind)
    pairs["license"] = (requirement.license or entry.license, entry.license)
    if isinstance(reference, HubReference) and _COMMIT.fullmatch(reference.revision):
        pairs["commit"] = (reference.revision, pin.commit)
    subject = "the base" if requirement.alias == BASE else f"`{requirement.alias}`"
    for key, (wanted, locked) in pairs.items():
        if wanted != locked:
            yield f"{subject} is asked for with the {key} {shown(wanted)}; its entry in the lock has {shown(locked)}"


def _words(manifest: Mapping[str, Any]) -> dict[str, tuple[object, object]]:
    """What an echo says of each alias; the addresses of registries belong to the bricks that may come from them."""
    addresses = manifest.get("registries", {})
    entries = {BASE: manifest.get("base", {}), **manifest.get("bricks", {})}
    return {
        alias: (entry, [addresses.get(name) for name in entry.get("registry", "").split(_NEXT)])
        for alias, entry in entries.items()
    }


def _list(reference: RegistryReference) -> str:
    """The registries that may be asked, `corp, builtin`: a text, as everything in an echo."""
    return _NEXT.join(reference.registries)


def _echo_requirement(requirement: Requirement) -> dict[str, str]:
    reference = requirement.reference
    values: dict[str, str | None] = {"kind": requirement.kind, "license": requirement.license}
    if isinstance(reference, RegistryReference):
        values |= {"brick": reference.name, "version": reference.version, "registry": _list(reference)}
    else:
        values |= {"source": str(reference), "subfolder": reference.subfolder}
    if isinstance(reference, HubReference):
        values["revision"] = reference.revision
    return {key: value for key, value in sorted(values.items()) if value is not None}


def _brick_reasons(wanted: Mapping[str, Any], locked: Mapping[str, Any], lock: Lock) -> Iterator[str]:
    for name in sorted({*wanted, *locked, *lock.bricks}):
        if name not in wanted:
            yield _GONE.format(name)
        elif name not in locked or name not in lock.bricks:
            yield f"`{name}` is in brick.toml and not in the lock"
        else:
            yield from _differences(f"`{name}`", wanted[name], locked[name])


def _registry_reasons(wanted: Mapping[str, str], locked: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*wanted, *locked}):
        now, before = wanted.get(name), locked.get(name)
        if now is None:
            yield f"the registry `{name}` is in the lock and no longer in brick.toml"
        elif before is None:
            yield f"the registry `{name}` is in brick.toml and not in the lock"
        elif now != before:
            yield f"the registry `{name}` is at {shown(now)}; the lock was made for {shown(before)}"


def _differences(subject: str, wanted: Mapping[str, str], locked: Mapping[str, str]) -> Iterator[str]:
    """What changed about one entry. Where it now comes from elsewhere, that says enough."""
    origin = [key for key in ("source", "brick") if wanted.get(key) != locked.get(key)]
    if origin:
        yield f"{subject} comes from {_origin(wanted)}; the lock was made for {_origin(locked)}"
        return
    for key in sorted({*wanted, *locked}):
        now, before = wanted.get(key), locked.get(key)
        if now != before:
            wants = f"{subject} has no {key}" if now is None else _WANTS[key].format(subject, shown(now))
            yield f"{wants}; the lock was made for {f'no {key}' if before is None else shown(before)}"


def _origin(entry: Mapping[str, str]) -> str:
    return shown(entry.get("source") or entry.get("brick") or "nothing")
