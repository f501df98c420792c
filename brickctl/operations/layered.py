"""Models as a stack of layers and what lies outside of it: what a stitch takes apart and puts together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.core.numbers import split_layer
from brickctl.errors import ManifestInvalid, Misfit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.errors import Place

_OF_ONE_MAKE = "layers must be of the same make: take them from fine-tunes of one base, or of models of the same sizes"


@dataclass(frozen=True)  # without slots, for what is found once is kept
class Layered:
    """A model and one of its stacks of layers.

    `owner` is what messages call the model, `place` where it is asked for.
    """

    owner: str
    model: LazyModel
    stack: str
    place: Place | None = None

    @cached_property
    def layers(self) -> tuple[Mapping[str, Node], ...]:
        """The tensors of every layer, by the rest of their names.

        Raises:
            Misfit: there are none, or numbers are missing between them.
        """
        found: dict[int, dict[str, Node]] = {}
        for name, node in self.model.tensors.items():
            place = split_layer(name)
            if place is not None and place[0] == self.stack:
                found.setdefault(place[1], {})[place[2]] = node
        missing = next((number for number in range(len(found)) if number not in found), None)
        if missing is not None:
            cause = f"it has {len(found)}, up to `{self.stack}.{max(found)}`"
            raise Misfit(f"`{self.owner}` has no layer `{self.stack}.{missing}`", causes=(cause,), place=self.place)
        if not found:
            said = ", ".join(f"`{stack}`" for stack in stacks_of(self.model)) or "none"
            cause = f"its tensors in layers are named {said}"
            raise Misfit(f"`{self.owner}` has no layers `{self.stack}`", causes=(cause,), place=self.place)
        return tuple(found[number] for number in range(len(found)))

    @cached_property
    def outside(self) -> Mapping[str, Node]:
        """What lies in none of these layers, tied tensors under their own names; in the order of the model."""
        names = (*self.model.tensors, *self.model.ties)
        return {name: self.model.node(name) for name in names if not self.is_inside(name)}

    def is_inside(self, name: str) -> bool:
        """Whether a tensor lies in one of the layers."""
        place = split_layer(name)
        return place is not None and place[0] == self.stack

    def name(self, number: int, rest: str) -> str:
        """The name of a tensor of a layer."""
        return f"{self.stack}.{number}{rest}"


def stacks_of(model: LazyModel) -> tuple[str, ...]:
    """Every stack of layers, in the order of the tensors."""
    places = (split_layer(name) for name in model.tensors)
    return tuple(dict.fromkeys(place[0] for place in places if place is not None))


def choose_stack(model: LazyModel, wanted: str | None, place: Place | None) -> str:
    """The stack to take apart: the one that is named, or the only one.

    Raises:
        Misfit: there is none.
        ManifestInvalid: there are several and none is named, or none that is called so.
    """
    stacks = stacks_of(model)
    if not stacks:
        raise Misfit("the running model has no layers that could be told by their names", place=place)
    if wanted is None and len(stacks) == 1:
        return stacks[0]
    listed = ", ".join(f"`{stack}`" for stack in stacks)
    if wanted is None:
        message, cause = "a stitch must be told which layers it is about", f"the running model has layers {listed}"
        raise ManifestInvalid(message, causes=(cause,), place=place, hint=f'write stack = "{stacks[0]}"')
    if wanted not in stacks:
        hint = did_you_mean(wanted, stacks) or f"there are {listed}"
        raise ManifestInvalid(f"the running model has no layers `{shown(wanted)}`", place=place, hint=hint)
    return wanted


def make_of(layer: Mapping[str, Node]) -> Mapping[str, tuple[tuple[int, ...], bool]]:
    """What must be equal of two layers that may stand in one place: names, shapes, and whether they can be merged."""
    return {rest: (node.spec.shape, node.spec.dtype.is_mergeable) for rest, node in layer.items()}


def check_layer(number: int, found: Layered, wanted_number: int, wanted: Layered, place: Place | None) -> None:
    """Make sure that a layer has the tensors of another one: the same names, shapes and kinds of number.

    Raises:
        Misfit: it does not, with the first tensor that differs.
    """
    ours, theirs = found.layers[number], wanted.layers[wanted_number]
    names = {rest: (found.name(number, rest), wanted.name(wanted_number, rest)) for rest in (*theirs, *ours)}
    cause = _difference(found, ours, wanted, theirs, names)
    if cause is not None:
        message = f"layer {number} of `{found.owner}` is not like layer {wanted_number} of `{wanted.owner}`"
        raise Misfit(message, causes=(cause,), place=place, hint=_OF_ONE_MAKE)


def check_outside(found: Layered, wanted: Layered, names: tuple[str, ...], place: Place | None) -> None:
    """Make sure that a model has these tensors outside of its layers, with the shapes that they have elsewhere.

    Raises:
        Misfit: it does not, or it has others that would be lost.
    """
    same = {name: (name, name) for name in names}
    cause = _difference(found, found.outside, wanted, wanted.outside, same)
    strange = next((name for name in found.outside if name in found.model.tensors and name not in wanted.outside), None)
    if cause is None and strange is not None:
        cause = f"it has `{strange}`, which `{wanted.owner}` does not have"
    if cause is not None:
        message = f"`{found.owner}` does not fit the base outside of its layers"
        hint = "take what lies outside of the layers from the base: leave `before` and `after` out"
        raise Misfit(message, causes=(cause,), place=place, hint=hint)


def _difference(
    found: Layered,
    ours: Mapping[str, Node],
    wanted: Layered,
    theirs: Mapping[str, Node],
    names: Mapping[str, tuple[str, str]],
) -> str | None:
    """The first tensor that differs, in words; `names` maps keys to the names of the tensor in both models."""
    for key, (name, other) in names.items():
        if key not in theirs:
            return f"`{found.owner}` has `{name}`, and `{wanted.owner}` has no `{other}`"
        if key not in ours:
            return f"`{wanted.owner}` has `{other}`, and `{found.owner}` has no `{name}`"
        one, two = ours[key].spec, theirs[key].spec
        if one.shape != two.shape:
            shapes = list(one.shape), list(two.shape)
            return f"`{name}` of `{found.owner}` has shape {shapes[0]}; `{other}` of `{wanted.owner}` has {shapes[1]}"
        if one.dtype.is_mergeable != two.dtype.is_mergeable:
            types = f"is stored as {one.dtype.code}; `{other}` of `{wanted.owner}` as {two.dtype.code}"
            return f"`{name}` of `{found.owner}` {types}"
    return None
