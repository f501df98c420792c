"""Bricks as values: their files, the tensors in them, and the interface that these make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256, interface_digest, tree_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.nodes import Stored
    from brickctl.errors import Place


DERIVED = "derived:"
"""How the source of a brick begins that the project makes itself."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class File:
    """One file of a brick: POSIX path relative to the brick's folder, size in bytes, digest of its content."""

    path: str
    size: int
    sha256: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Exactly which bytes a reference means: what a source found, before anyone looked into the files.

    `source` is `hf:owner/name`, `path:folder`, `index:namespace/name/version` or `derived:name`. `files` is sorted by
    path.
    """

    source: str
    files: tuple[File, ...]
    subfolder: str | None = None
    commit: str | None = None
    license: str | None = None
    brick: str | None = None
    version: str | None = None
    registry: str | None = None

    @property
    def digest(self) -> Sha256:
        """Tree digest over the files."""
        return tree_digest((file.path, file.sha256) for file in self.files)

    @property
    def is_derived(self) -> bool:
        """Whether the project has made it itself."""
        return self.source.startswith(DERIVED)

    @property
    def origin(self) -> str:
        """Where it comes from, whatever the version: `corp:acme/sql`, `hf:acme/legal-lora/checkpoint-300`."""
        if self.brick is not None:
            return f"{self.registry}:{self.brick}"
        return self.source if self.subfolder is None else f"{self.source}/{self.subfolder}"

    def file(self, path: str) -> File | None:
        """The file at `path`, if the brick has it."""
        return next((file for file in self.files if file.path == path), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What can be known of a brick without reading weights: its small documents and its tensors.

    `documents` maps paths such as `config.json` to parsed JSON objects. `tensors` maps names to stored tensors, in file
    order, then in the order of their offsets. `shards` maps each weight file to the number of bytes before its tensors.
    `plain` are those whose header tells of tensors and of nothing else, as those do that brickctl writes.
    """

    documents: Mapping[str, Mapping[str, Any]]
    tensors: Mapping[str, Stored]
    shards: Mapping[str, int] = field(default_factory=dict)
    plain: frozenset[str] = frozenset()

    @property
    def interface(self) -> Sha256:
        """Identity of names and shapes."""
        return interface_digest({name: tensor.spec.shape for name, tensor in self.tensors.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """A weight file of a brick in which nothing is but these tensors, in the order of their bytes."""

    file: File
    tensors: Mapping[str, Stored]


@dataclass(frozen=True, slots=True, kw_only=True)
class Brick:
    """A functional module, known by name, kind, pin and contents; no weights are held.

    `required_by` is the place in a manifest that asks for it, for messages.
    """

    name: str
    kind: str
    pin: Pin
    contents: Contents
    license: str | None = None
    required_by: Place | None = None

    @property
    def digest(self) -> Sha256:
        """Tree digest: the identity of a brick, and its place in methods that do not depend on order."""
        return self.pin.digest

    def plain_files(self) -> tuple[WeightFile, ...]:
        """Its weight files that a model may take over as they are, if it takes over all that is in them."""
        tensors: dict[Sha256, dict[str, Stored]] = {}
        for name, node in self.contents.tensors.items():
            tensors.setdefault(node.blob, {})[name] = node
        files = (file for file in self.pin.files if file.path in self.contents.plain)
        return tuple(WeightFile(file=file, tensors=tensors[file.sha256]) for file in files if file.sha256 in tensors)
