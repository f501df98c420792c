"""Router: which of several bricks a request is for, by how near it is to the centre of their prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.names import is_alias
from brickctl.core.regions import Spec
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.base import interface
from brickctl.kinds.kind import Changes, is_described_by, register, tuned_model
from brickctl.vocabulary.axis import EMBEDDING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel

FILE = "router_config.json"
FORMAT = "brickctl-router-1"
WEIGHTS = "model.safetensors"
_HINT = "the file is damaged, or was written by something else; derive the router again"
_ELSEWHERE = "set [base] to the model that it was derived from, or derive it again"
_MOST_LABELS = 1000
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
    """A centre for every label in the space of a base's hidden states, and how near a request must come to it."""

    name = "router"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """`router_config.json` is there, and no model's and no adapter's configuration."""
        return is_described_by(FILE, contents)

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - it names its base by a digest
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """Among which labels it chooses, and behind how many blocks it reads."""
        document = contents.documents[FILE]
        labels, layer = document.get("labels"), document.get("layer")
        named = [shown(label) for label in labels[:_MOST_LABELS]] if isinstance(labels, list) else []
        return {"labels": named, **({"layer": layer} if type(layer) is int else {})}

    def check(self, brick: Brick, base: LazyModel) -> None:
        """Its format must be known, its base this one, and its tensors those of its labels."""
        found = routing(brick)
        if brick.contents.documents[FILE].get("interface") != interface(base):
            cause = f"{FILE} names a base whose tensors have other names or shapes"
            message = f"`{brick.name}` does not fit the base"
            raise Misfit(message, causes=(cause,), place=brick.required_by, hint=_ELSEWHERE)
        stored = {name: tensor.spec for name, tensor in brick.contents.tensors.items()}
        hidden = hidden_size(base)
        if stored != found.specs(hidden):
            have = ", ".join(f"{shown(name)} {spec.dtype.code} {list(spec.shape)}" for name, spec in stored.items())
            cause = f"{len(found.labels)} labels and states of {hidden} numbers need others than {have or 'none'}"
            raise _unreadable(brick, cause)
        file = brick.pin.file(WEIGHTS)
        if file is None or any(tensor.blob != file.sha256 for tensor in brick.contents.tensors.values()):
            raise _unreadable(brick, f"its tensors are not in {WEIGHTS}, where routed models look for them")

    def changes(self, brick: Brick, base: LazyModel) -> Changes:  # noqa: ARG002 - it changes none
        """Unsupported: a router has no weights of a model."""
        cause = "it says which brick a request is for, and changes no weights"
        hint = f'write {{ op = "route", method = "retrieval", router = "{brick.name}", bricks = [NAMES] }}'
        message = f"`{brick.name}` is a router, which cannot be merged"
        raise Unsupported(message, causes=(cause,), place=brick.required_by, hint=hint)

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """Unsupported: a router is no model."""
        return tuned_model(base, self.changes(brick, base))


def routing(brick: Brick) -> Routing:
    """What the configuration of the brick says.

    Raises:
        Misfit: it says something else than this brickctl knows.
    """
    document = brick.contents.documents.get(FILE, {})
    if document.get("format") != FORMAT:
        cause = f"{FILE} has the format `{shown(document.get('format'))}`; this brickctl reads `{FORMAT}`"
        raise _unreadable(brick, cause)
    labels = document.get("labels")
    if not isinstance(labels, list) or not 1 < len(labels) <= _MOST_LABELS or not all(map(_is_label, labels)):
        raise _unreadable(brick, f"`labels` in {FILE} is no list of 2 to {_MOST_LABELS} names")
    if len(dict.fromkeys(labels)) != len(labels):
        raise _unreadable(brick, f"`labels` in {FILE} has a name twice")
    layer, longest = _number(brick, "layer", 0, _MOST_LAYERS), _number(brick, "longest", 1, _LONGEST)
    return Routing(labels=tuple(labels), layer=layer, longest=longest)


def hidden_size(base: LazyModel) -> int:
    """How many numbers the state of a token has: as many as a row of the embedding; 0 for a model without one."""
    shapes = (base.node(name).spec.shape for name in base.tensors if EMBEDDING.search(name))
    return next((shape[-1] for shape in shapes if shape), 0)


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and is_alias(value)


def _number(brick: Brick, key: str, least: int, most: int) -> int:
    value = brick.contents.documents[FILE].get(key)
    if type(value) is not int or not least <= value <= most:
        raise _unreadable(brick, f"`{key}` in {FILE} must be a number from {least} to {most}, not `{shown(value)}`")
    return value


def _unreadable(brick: Brick, cause: str) -> Misfit:
    message = f"`{brick.name}` is no router that brickctl reads"
    return Misfit(message, causes=(cause,), place=brick.required_by, hint=_HINT)


register(RouterKind())
