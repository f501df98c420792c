"""The lazy model: everything about a model but its data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import File
    from brickctl.core.nodes import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyModel:
    """A model as a value that holds no data.

    Attributes:
        config: `config.json`, parsed.
        tensors: tensor name -> node, in the order in which they are written.
        ties: name of a tensor that is not stored -> name of the tensor that it shares (a tied head -> the embedding).
        files: what lies beside it (tokenizer, generation config), by path: carried byte for byte, or new text.
        source_config: the `config.json` file as it came, copied whole while nothing in `config` changed.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Node]
    ties: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, File | bytes] = field(default_factory=dict)
    source_config: File | None = None

    def node(self, name: str) -> Node:
        """The node of a tensor, or of the tensor that a tied one shares."""
        return self.tensors[self.ties.get(name, name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What a target becomes: a model at the root, and further folders beside it (the adapters of a stack).

    Attributes:
        root: the model.
        parts: file path below the artifact -> a file carried byte for byte, or the text of a new one.
        weights: folder below the artifact, or a file if it ends in `.safetensors` -> computed tensors that are stored
            there, by name (the masks of a merge, the adapters of a route).
        notes: what the user should know about the result, one sentence each.
        restacked: whether a step, such as a stitch, gave layers other numbers than they have in the base.
        regrouped: whether a step, such as a split, gave FFNs other neurons than they have in the base.
    """

    root: LazyModel
    parts: Mapping[str, File | bytes] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, Node]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    restacked: bool = False
    regrouped: bool = False
