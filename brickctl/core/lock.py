"""brick.lock as a value: exactly which bytes a project uses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE, Alias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import File, Pin
    from brickctl.core.dependency import Dependency
    from brickctl.core.digests import Sha256

VERSION = 1
"""Version of the lock format."""

ENGINE = 1
"""Version of the arithmetic and of every default value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """One entry: a pin, and what was found in the files when it was made.

    `declared_base` is the base that the brick itself names, where it names one; `dependencies` are what its registry
    says that it needs. `recipe` says, of a derived brick, what it was made by and from. In a lock that was read from a
    file, `pin.license` is `license`, or None where that is `unknown`.
    """

    alias: Alias
    kind: str
    pin: Pin
    interface: Sha256
    license: str
    declared_base: str | None = None
    dependencies: tuple[Dependency, ...] = ()
    recipe: Sha256 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The whole of brick.lock.

    `derived` are the bricks that were made from others; one that was never made has no entry.
    `inputs` are the files of the project that targets and derivations read, by path.
    `manifest` is what brick.toml said when the lock was made: `base`, `bricks` and `registries` as plain tables, in the
    normal form that `brickctl.core.staleness.echo` gives.
    """

    base: Locked
    bricks: Mapping[Alias, Locked] = field(default_factory=dict)
    dependencies: Mapping[Alias, Locked] = field(default_factory=dict)
    derived: Mapping[Alias, Locked] = field(default_factory=dict)
    inputs: Mapping[str, File] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    engine: int = ENGINE
    version: int = VERSION

    @property
    def entries(self) -> Mapping[Alias, Locked]:
        """The base, every brick, what these need, and what was derived, by name."""
        return {BASE: self.base, **self.bricks, **self.dependencies, **self.derived}


def same_entry(one: Locked | None, other: Locked | None) -> bool:
    """Whether two entries say the same; a pin out of a lock may have forgotten what its source said of the licence."""
    if one is None or other is None:
        return one is other
    return replace(one, pin=replace(one.pin, license=None)) == replace(other, pin=replace(other.pin, license=None))
