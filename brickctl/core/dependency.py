"""What one version of a brick needs: another brick, such as the expert that it was trained on, or one very base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.names import BASE, is_brick_name
from brickctl.core.pin_format import read_commit, read_source, read_subfolder
from brickctl.core.versions import VersionRange
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from brickctl.core.document import Table

_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BrickDependency:
    """A brick in a range of versions, from the registry of the one that needs it, and from no other.

    With `is_base` the base of the project must be it.
    """

    brick: str
    version: str = "*"
    is_base: bool = False

    def name(self, registry: str | None) -> str:
        """How a lock calls what fulfils this, unless brick.toml has a name for it; `registry` is that of the asker."""
        return BASE if self.is_base else self.origin(registry)

    def origin(self, registry: str | None) -> str:
        """What it is, whatever its version."""
        return f"{registry}:{self.brick}"

    def document(self) -> dict[str, Any]:
        """As registry lines and locks write it."""
        return {**_base(self), "brick": self.brick, "version": self.version}

    def __str__(self) -> str:
        return f"{self.brick} {self.version}{_as_base(self)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDependency:
    """One commit of a repository of the Hub, `hf:owner/name`, or of a folder of it.

    With `is_base` the base of the project must be it, as for a knowledge edit that is good for one commit.
    """

    source: str
    commit: str
    subfolder: str | None = None
    is_base: bool = False

    def name(self, registry: str | None) -> str:
        """How a lock calls what fulfils this, unless brick.toml has a name for it."""
        return BASE if self.is_base else f"{self.source}@{self.commit}{self.origin(registry)[len(self.source) :]}"

    def origin(self, registry: str | None) -> str:  # noqa: ARG002 - the Hub is the same for all
        """What it is, whatever its commit."""
        return self.source if self.subfolder is None else f"{self.source}/{self.subfolder}"

    def document(self) -> dict[str, Any]:
        """As registry lines and locks write it."""
        folder = {} if self.subfolder is None else {"subfolder": self.subfolder}
        return {**_base(self), "commit": self.commit, "source": self.source, **folder}

    def __str__(self) -> str:
        return f"{self.source} at {self.commit[:12]}{_as_base(self)}"


Dependency = BrickDependency | HubDependency


def _base(dependency: Dependency) -> dict[str, Any]:
    return {"base": True} if dependency.is_base else {}


def _as_base(dependency: Dependency) -> str:
    return " as the base" if dependency.is_base else ""


def read_dependencies(table: Table) -> tuple[Dependency, ...]:
    """Read the `dependencies` of a registry line or a lock entry: sorted by name, and none twice.

    Raises:
        whatever the table raises: one that is neither a brick with a range nor a commit of the Hub.
    """
    tables = table.tables_or_none("dependencies") or ()
    if len(tables) > _MOST:
        raise table.error(f"{table.where} has {len(tables)} dependencies; at most {_MOST} are read", key="dependencies")
    found = tuple(_read_dependency(entry) for entry in tables)
    names = [dependency.name("") for dependency in found]
    if names != sorted(dict.fromkeys(names)):
        raise table.error(f"`dependencies` in {table.where} are not sorted, or one stands twice", key="dependencies")
    return found


def _read_dependency(table: Table) -> Dependency:
    is_base = table.boolean_or_none("base") or False
    dependency = _read_brick(table, is_base=is_base) if table.has("brick") else _read_commit(table, is_base=is_base)
    table.finish()
    return dependency


def _read_brick(table: Table, *, is_base: bool) -> BrickDependency:
    brick, version = table.string("brick"), table.string("version")
    if not is_brick_name(brick):
        raise table.error(f"`{shown(brick)}` is no name of a brick", key="brick")
    try:
        normal = str(VersionRange.parse(version))
    except UsageFault as fault:
        raise table.error(fault.message, key="version", causes=fault.causes) from None
    if normal != version:
        raise table.error(f"the range `{shown(version)}` is not in its normal form, `{normal}`", key="version")
    return BrickDependency(brick=brick, version=version, is_base=is_base)


def _read_commit(table: Table, *, is_base: bool) -> HubDependency:
    source = read_source(table)
    commit = read_commit(table, source)
    if commit is None:
        raise table.error(f"`{shown(source)}` is no dependency: only registries and the Hub have them", key="source")
    return HubDependency(source=source, commit=commit, subfolder=read_subfolder(table), is_base=is_base)
