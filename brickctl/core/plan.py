"""Plans: the files that a build will write, task by task; the tensors in them are nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256, json_digest, sha256_bytes
from brickctl.core.graph import each_once
from brickctl.core.nodes import Node, Stored, key

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One safetensors file to write: its header bytes and its tensors, in the order of their bytes."""

    path: str
    header: bytes
    tensors: tuple[tuple[str, Node], ...]

    @property
    def size(self) -> int:
        """Bytes of the finished file."""
        return len(self.header) + sum(node.spec.bytes for _, node in self.tensors)

    @property
    def computed(self) -> tuple[tuple[str, Node], ...]:
        """The tensors that are not stored bytes."""
        return tuple((name, node) for name, node in self.tensors if not isinstance(node, Stored))

    @property
    def key(self) -> Sha256:
        """Identity of the finished file's content."""
        nodes = [key(node) for _, node in self.tensors]
        return json_digest({"header": sha256_bytes(self.header), "tensors": nodes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One file to copy whole from a verified blob."""

    path: str
    blob: Sha256
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One small file whose bytes are known when planning (config, index, model card)."""

    path: str
    content: bytes


Task = Shard | Copy | Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a build will write, file by file; each file can be made by itself, anywhere, in any order."""

    tasks: tuple[Task, ...]
    reproducible: str = "bitwise"
    notes: tuple[str, ...] = ()

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The tasks that make weights."""
        return tuple(task for task in self.tasks if isinstance(task, Shard))

    @property
    def computed(self) -> tuple[tuple[str, Node], ...]:
        """The tensors, by name, that are not stored bytes."""
        return tuple(pair for shard in self.shards for pair in shard.computed)

    def nodes(self) -> Mapping[Sha256, Node]:
        """Every node of the plan by its key."""
        return {key(node): node for node in each_once(node for shard in self.shards for _, node in shard.tensors)}
