"""Router: which of several bricks a request or a token is for, by centres of prompts, or by trained gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.errors import Unsupported
from brickctl.kinds import gate_vectors
from brickctl.kinds.base import interface
from brickctl.kinds.kind import Changes, is_described_by, register, tuned_model
from brickctl.kinds.router_document import (
    FILE,
    MOST_LABELS,
    check_place,
    labels_of,
    require_format,
    unreadable,
)
from brickctl.vocabulary.axis import EMBEDDING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel

FORMAT = "brickctl-router-1"
_METHODS = {FORMAT: "retrieval", gate_vectors.FORMAT: "phatgoose"}
"""By which `method` of a route a router of a format chooses."""

_MOST_LAYERS = 10_000
_LONGEST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What `router_config.json` says, checked.

    Attributes:
        labels: what `centroids` and `thresholds` have a row for: aliases of bricks, and `base` for text without one.
        layer: behind how many blocks the states are read.
        longest: how many tokens of a request are read.
    """

    labels: tuple[str, ...]
    layer: int
    longest: int

    def document(self, base: LazyModel) -> Mapping[str, Any]:
        """`router_config.json`."""
        return {
            "format": FORMAT,
            "interface": interface(base),
            "labels": list(self.labels),
            "layer": self.layer,
            "longest": self.longest,
        }

    def specs(self, hidden: int) -> Mapping[str, Spec]:
        """The tensors of a router for states of so many numbers."""
        count = len(self.labels)
        shapes = {"centroids": (count, hidden), "mean": (hidden,), "thresholds": (count,)}
        return {name: Spec(DType.F32, shape) for name, shape in shapes.items()}


class RouterKind:
    """Centres of labels in the space of a base's hidden states, or gates: vectors of adapters for each module."""

    name = "router"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """`router_config.json` is there, and no model's and no adapter's configuration."""
        return is_described_by(FILE, contents)

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - it names its base by a digest
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """How and among which labels it chooses, and behind how many blocks it reads, where it has centres."""
        document = contents.documents[FILE]
        labels, layer = document.get("labels"), document.get("layer")
        named = [shown(label) for label in labels[:MOST_LABELS]] if isinstance(labels, list) else []
        method = _METHODS.get(str(document.get("format")), "unknown")
        return {"method": method, "labels": named, **({"layer": layer} if type(layer) is int else {})}

    def check(self, brick: Brick, base: LazyModel) -> None:
        """Its format must be known, its base this one, and its tensors those that its configuration implies."""
        if gate_vectors.has_gates(brick):
            gate_vectors.check(brick, base)
            return
        found = routing(brick)
        check_place(brick, base)
        stored = {name: tensor.spec for name, tensor in brick.contents.tensors.items()}
        hidden = hidden_size(base)
        if stored != found.specs(hidden):
            have = ", ".join(f"{shown(name)} {spec.dtype.code} {list(spec.shape)}" for name, spec in stored.items())
            cause = f"{len(found.labels)} labels and states of {hidden} numbers need others than {have or 'none'}"
            raise unreadable(brick, cause)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:  # noqa: ARG002 - it changes none
        """Unsupported: a router has no weights of a model."""
        cause = "it says which brick a request is for, and changes no weights"
        method = _METHODS[gate_vectors.FORMAT if gate_vectors.has_gates(brick) else FORMAT]
        hint = f'write {{ op = "route", method = "{method}", router = "{brick.name}", bricks = [NAMES] }}'
        message = f"`{brick.name}` is a router, which cannot be merged"
        raise Unsupported(message, causes=(cause,), place=brick.required_by, hint=hint)

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """Unsupported: a router is no model."""
        return tuned_model(base, self.changes(brick, base))


def routing(brick: Brick) -> Routing:
    """What the configuration of a brick with centres says.

    Raises:
        Misfit: it says something else than this brickctl knows.
    """
    require_format(brick, FORMAT)
    layer, longest = _number(brick, "layer", 0, _MOST_LAYERS), _number(brick, "longest", 1, _LONGEST)
    return Routing(labels=labels_of(brick, fewest=2), layer=layer, longest=longest)


def hidden_size(base: LazyModel) -> int:
    """How many numbers the state of a token has: as many as a row of the embedding; 0 for a model without one."""
    shapes = (base.node(name).spec.shape for name in base.tensors if EMBEDDING.search(name))
    return next((shape[-1] for shape in shapes if shape), 0)


def _number(brick: Brick, key: str, least: int, most: int) -> int:
    value = brick.contents.documents[FILE].get(key)
    if type(value) is not int or not least <= value <= most:
        raise unreadable(brick, f"`{key}` in {FILE} must be a number from {least} to {most}, not `{shown(value)}`")
    return value


register(RouterKind())
