"""What a kind knows of its bricks, and how kinds are found."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from brickctl.core.names import did_you_mean
from brickctl.core.plugins import Plugins
from brickctl.errors import Misfit, Unsupported
from brickctl.tensors.arithmetic import add

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node


@dataclass(frozen=True, slots=True)
class Change:
    """What a brick does to one tensor of the base.

    `delta` is tuned minus base in fp64, `tuned` the tensor itself where the brick stores it whole. There is no delta
    where the base has no such tensor.
    """

    delta: Node | None
    tuned: Node | None = None

    def model(self, base: Node) -> Node:
        """The tensor of the tuned model."""
        if self.tuned is not None or self.delta is None:
            return base if self.tuned is None else self.tuned
        return add(base, self.delta)


Changes = dict[str, Change]
"""Changes by the tensor names of the base, tied heads under their own names; what is not in it stays as it is."""


class Kind(Protocol):
    """One kind of brick."""

    @property
    def name(self) -> str:
        """How manifests and locks call it."""

    @property
    def is_asked_for(self) -> bool:
        """Whether a brick is of this kind only where the manifest says so."""

    def detect(self, contents: Contents) -> bool:
        """Whether a brick with these contents may be of this kind."""

    def declared_base(self, contents: Contents) -> str | None:
        """The base that the brick itself names."""

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """What `brickctl info` shows beside the interface, from documents and headers alone; JSON values."""

    def check(self, brick: Brick, base: LazyModel) -> None:
        """Make sure that the brick fits the base in some way of using it; reads no weights.

        Raises:
            Misfit: the brick does not fit this base.
            Unsupported: the brick needs something that is not built.
        """

    def changes(self, brick: Brick, base: LazyModel) -> Changes:
        """What the brick does to the base when it is merged, as nodes; reads no weights.

        Raises:
            Misfit: the brick does not fit this base.
            Unsupported: the brick needs something that is not built.
        """

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """The whole model that the brick stands for, which may have other layers than the base; reads no weights.

        Raises:
            Misfit: the brick does not fit this base, or stands for no model.
            Unsupported: the brick needs something that is not built.
        """


def tuned_model(base: LazyModel, changes: Changes) -> LazyModel:
    """The base with these changes; a tied tensor that is no longer equal becomes one of its own."""
    names = dict.fromkeys((*base.tensors, *base.ties))
    nodes = {name: changes[name].model(base.node(name)) if name in changes else base.node(name) for name in names}
    ties = {name: source for name, source in base.ties.items() if nodes[name] == nodes[source]}
    added = {name: change.tuned for name, change in changes.items() if name not in names and change.tuned is not None}
    tensors = {name: node for name, node in nodes.items() if name not in ties}
    return dataclasses.replace(base, tensors={**tensors, **added}, ties=ties)


_KINDS: Plugins[Kind] = Plugins("brickctl.kinds")


def is_described_by(file: str, contents: Contents) -> bool:
    """Whether a brick has this configuration, and none of a model or of an adapter, which say more about it."""
    others = ("config.json", "adapter_config.json")
    return file in contents.documents and not any(name in contents.documents for name in others)


def register(kind: Kind) -> None:
    """Make a kind known; called by its module."""
    _KINDS.declare(kind.name, kind)


def kinds() -> Mapping[str, Kind]:
    """Every kind, by name, in the order in which detection asks them."""
    return _KINDS.all()


def kind_named(name: str) -> Kind:
    """The kind that is called `name`.

    Raises:
        Unsupported: no kind of this brickctl is called so.
    """
    found = _KINDS.named(name)
    if found is None:
        hint = did_you_mean(name, kinds()) or f"this brickctl knows {', '.join(kinds())}"
        raise Unsupported(f"`{name}` is no kind of brick", hint=hint)
    return found


def detect_kind(name: str, contents: Contents) -> Kind:
    """The kind of the brick `name`, from what it contains.

    Raises:
        Misfit: no kind recognises it.
    """
    for kind in kinds().values():
        if kind.detect(contents) and not kind.is_asked_for:
            return kind
    found = ", ".join(sorted(contents.documents))
    raise Misfit(
        f"`{name}` is of no kind that brickctl knows",
        causes=(f"its configuration files are {found}" if found else "it has no configuration file",),
        hint="an adapter has adapter_config.json, an expert has config.json; what is laid over a model as it is needs"
        ' `kind = "module"` beside its source',
    )
