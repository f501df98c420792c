"""`router_config.json`: what all routers say of themselves, and what is wrong with one that says something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.names import is_alias
from brickctl.errors import Misfit
from brickctl.kinds.base import interface

if TYPE_CHECKING:
    from brickctl.core.brick import Brick
    from brickctl.core.model import LazyModel

FILE = "router_config.json"
WEIGHTS = "model.safetensors"
MOST_LABELS = 1000
_HINT = "the file is damaged, or was written by something else; derive the router again"
_ELSEWHERE = "set [base] to the model that it was derived from, or derive it again"


def require_format(brick: Brick, wanted: str) -> None:
    """Raise Misfit if the configuration has another format."""
    found = brick.contents.documents.get(FILE, {}).get("format")
    if found != wanted:
        raise unreadable(brick, f"{FILE} has the format `{shown(found)}`; this brickctl reads `{wanted}`")


def labels_of(brick: Brick, *, fewest: int) -> tuple[str, ...]:
    """What the router chooses among: names as manifests have them, each once; raises Misfit for anything else."""
    labels = brick.contents.documents[FILE].get("labels")
    if not isinstance(labels, list) or not fewest <= len(labels) <= MOST_LABELS or not all(map(_is_label, labels)):
        raise unreadable(brick, f"`labels` in {FILE} is no list of {fewest} to {MOST_LABELS} names")
    if len(dict.fromkeys(labels)) != len(labels):
        raise unreadable(brick, f"`labels` in {FILE} has a name twice")
    return tuple(labels)


def check_place(brick: Brick, base: LazyModel) -> None:
    """Make sure that the router was made for this base, and lies where routed models look for it.

    Raises:
        Misfit: it was not, or does not.
    """
    if brick.contents.documents[FILE].get("interface") != interface(base):
        cause = f"{FILE} names a base whose tensors have other names or shapes"
        message = f"`{brick.name}` does not fit the base"
        raise Misfit(message, causes=(cause,), place=brick.required_by, hint=_ELSEWHERE)
    file = brick.pin.file(WEIGHTS)
    if file is None or any(tensor.blob != file.sha256 for tensor in brick.contents.tensors.values()):
        raise unreadable(brick, f"its tensors are not in {WEIGHTS}, where routed models look for them")


def unreadable(brick: Brick, cause: str) -> Misfit:
    """An error about a router that says something else than brickctl knows, to be raised by the caller."""
    message = f"`{brick.name}` is no router that brickctl reads"
    return Misfit(message, causes=(cause,), place=brick.required_by, hint=_HINT)


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and is_alias(value)
