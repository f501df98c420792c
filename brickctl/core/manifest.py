"""brick.toml as a value: what a project wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias
from brickctl.core.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.dtypes import DType
    from brickctl.core.reference import Reference
    from brickctl.errors import Place

BUILTIN = "builtin"
"""The reserved name of the registry that ships with brickctl."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """`[project]`. Bricks that name no registry are asked for in the first of `default_registries` that has them."""

    name: str
    requires_brickctl: str | None = None
    default_registries: tuple[str, ...] = (BUILTIN,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """`[base]`, or one entry of `[bricks]`: what is wanted, and what the user says about it."""

    alias: Alias
    reference: Reference
    kind: str | None = None
    license: str | None = None
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file of the project that a step or a derivation reads, and which line asks for it.

    Attributes:
        path: relative to brick.toml.
        largest: how many bytes it may have.
    """

    path: str
    largest: int = field(default=1_000_000, compare=False)
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation of a target, in the words of the manifest; the operation itself reads the table."""

    op: str
    table: Table = field(compare=False)
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """`[derived.NAME]`: a brick that is made from a model, in the words of the manifest; its `op` reads the table.

    It is made from the model that the brick `start` stands for (the base itself, unless another is named), or from
    what `target` is built into.
    """

    name: Alias
    op: str
    table: Table = field(compare=False)
    start: Alias = BASE
    target: Alias | None = None
    place: Place | None = field(default=None, compare=False)


SHARD_SIZE = 5_000_000_000
"""Bytes of one weight file, unless a target says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`[targets.NAME]`: a starting model and operations applied in order.

    `start` is the name of another target, or None for the base. `dtype` None: each tensor keeps its own. `shard_size`
    is in bytes; None: `SHARD_SIZE`, but for weight files that stay as they are.
    """

    name: Alias
    start: Alias | None = None
    dtype: DType | None = None
    shard_size: int | None = None
    apply: tuple[Step, ...] = ()
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One entry of `[[checks]]`, in the words of the manifest: what a target must be able to do.

    Its kind reads the table, which has all keys but `name`, `target` and `kind`.
    """

    name: str
    target: Alias
    kind: str
    table: Table = field(compare=False)
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole of brick.toml; mappings keep the order of the file."""

    project: Project
    base: Requirement
    registries: Mapping[str, str] = field(default_factory=dict)
    bricks: Mapping[Alias, Requirement] = field(default_factory=dict)
    derived: Mapping[Alias, Derived] = field(default_factory=dict)
    targets: Mapping[Alias, Target] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    policy: Policy = field(default_factory=Policy)

    @property
    def requirements(self) -> Mapping[Alias, Requirement]:
        """The base and every brick that is fetched, by alias."""
        return {BASE: self.base, **self.bricks}

    @property
    def usable(self) -> Mapping[Alias, Requirement | Derived]:
        """Every brick that a step may name, fetched or derived."""
        return {**self.bricks, **self.derived}

    def place_of(self, alias: Alias) -> Place | None:
        """The line that asks for a brick; None for what no line names."""
        found = self.requirements.get(alias) or self.derived.get(alias)
        return None if found is None else found.place
