"""The plan of a target, looked at for what it does to the base: weights over the layers, and which tensors change.

Reads headers only, as the beginning of a build does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.model import Artifact
from brickctl.core.numbers import Filtered, Scalar, depth_of, layer_of, split_layer, stack_of
from brickctl.core.parameters import each_of
from brickctl.operations.merge import Merge
from brickctl.pages.target.contents import Amount, Change, Curve, Spot, Weights
from brickctl.workflows.report.recipe import chain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.core.numbers import Number
    from brickctl.operations.operation import Ingredients
    from brickctl.operations.target import Recipe

_THE_STEP = "all bricks"
CHANGED, ADDED, UNCHANGED = "changed", "added", "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What the plan tells: layers of the base, the numbers of each merge over them, and what comes out."""

    layers: int
    weights: tuple[Weights, ...]
    change: Change


def outline(recipe: Recipe, ingredients: Ingredients) -> Outline:
    """Apply every step without reading a weight.

    Raises:
        Misfit, Unsupported, ManifestInvalid: what would stop a build.
        NotFound, OfflineMiss: a small file that a step reads is not on this machine.
    """
    weights: list[Weights] = []
    artifact, step = Artifact(root=ingredients.base), 0
    for one in chain(recipe):
        for operation in one.operations:
            step += 1
            if isinstance(operation, Merge):
                weights += _weights(operation, step, artifact.root)
            artifact = operation.apply(artifact, ingredients)
    finished = recipe.artifact(ingredients)
    layers = _layers(ingredients.base.tensors)
    return Outline(layers=layers, weights=tuple(weights), change=_change(ingredients.base, finished))


def _weights(merge: Merge, step: int, model: LazyModel) -> Iterator[Weights]:
    """The weights of the bricks of a merge, and whatever else is not one number for all tensors."""
    names = [name for name in model.tensors if layer_of(name) is not None]
    parameters: dict[str, dict[str, Number]] = {}
    for entry in merge.entries:
        weight = {"weight": entry.weight} if merge.declared.weighted else {}
        own = {name: entry.settings.get(name, merge.chosen.numbers[name]) for name in each_of(merge.chosen.declared)}
        for parameter, number in {**weight, **own}.items():
            parameters.setdefault(parameter, {})[entry.alias] = number
    for parameter, number in merge.chosen.numbers.items():  # of the step, such as the place of slerp between two
        if parameter not in parameters and not isinstance(number, Scalar):
            parameters[parameter] = {_THE_STEP: number}
    title = f"merge {merge.declared.name}"
    for parameter, numbers in parameters.items():
        if parameter == "weight" or not all(isinstance(number, Scalar) for number in numbers.values()):
            curves = tuple(curve for brick, number in numbers.items() for curve in _curves(brick, number, names))
            yield Weights(step=step, title=title, parameter=parameter, curves=curves)


def _curves(brick: str, number: Number, names: list[str]) -> Iterator[Curve]:
    """A number over the layers: one curve, or one for each list of filters that decides it somewhere."""
    layers = _layers(names)
    if not isinstance(number, Filtered):
        at = (number.at("", 0.0 if layers <= 1 else layer / (layers - 1)) for layer in range(layers))
        yield Curve(brick=brick, values=tuple(at))
        return
    modules: dict[str, dict[int, str]] = {}
    for name in _of_largest_stack(names):
        layer, module = _spot(name)
        modules.setdefault(module, {})[layer] = name
    found: dict[tuple[str, tuple[float | None, ...]], None] = {}
    for tensors in modules.values():
        values = (
            number.at(tensors[one], depth_of(tensors[one], layers)) if one in tensors else None for one in range(layers)
        )
        found.setdefault((_filters(number, tensors.values()), tuple(values)))
    yield from (Curve(brick=brick, tensors=filters, values=values) for filters, values in found)


def _filters(number: Filtered, names: Iterable[str]) -> str:
    """The rules that decide a number in these tensors, in the words of the manifest."""
    first = (next((rule for rule in number.rules if rule.matches(name)), None) for name in names)
    return ", ".join(dict.fromkeys("" if rule is None else rule.filter or "all others" for rule in first))


def _layers(names: Iterable[str]) -> int:
    """How many layers the largest stack of a model has."""
    return max((layer + 1 for name in names if (layer := layer_of(name)) is not None), default=0)


def _of_largest_stack(names: Iterable[str]) -> list[str]:
    """Of a model with several towers, the tensors of the one that has most of them."""
    stacks: dict[str, list[str]] = {}
    for name in names:
        stacks.setdefault(stack_of(name), []).append(name)
    return max(stacks.values(), key=len, default=[])


def _spot(name: str) -> tuple[int, str]:
    """The layer of a tensor, and its name inside it: 3 and `mlp.up_proj`."""
    parts = split_layer(name)
    layer, rest = (layer_of(name) or 0, name) if parts is None else parts[1:]
    return layer, rest.lstrip(".").removesuffix(".weight")


def _change(base: LazyModel, artifact: Artifact) -> Change:
    before, after = base.tensors, artifact.root.tensors
    changed = {name: node for name, node in after.items() if name in before and before[name] != node}
    added = {name: node for name, node in after.items() if name not in before}
    gone = {name: node for name, node in before.items() if name not in after}
    became = {name: CHANGED if name in changed else ADDED if name in added else UNCHANGED for name in after}
    inside = _of_largest_stack(name for name in after if layer_of(name) is not None)
    outside = tuple(name for name in (*changed, *added) if layer_of(name) is None)
    return Change(
        before=_amount(before),
        after=_amount(after),
        beside=sum(node.spec.elements for part in artifact.weights.values() for node in part.values()),
        changed=_amount(changed),
        added=_amount(added),
        gone=_amount(gone),
        spots=tuple(_as_spot(name, became[name]) for name in inside),
        outside=outside,
        restacked=artifact.restacked,
    )


def _as_spot(name: str, became: str) -> Spot:
    layer, module = _spot(name)
    return Spot(module=module, layer=layer, became=became)


def _amount(tensors: Mapping[str, Node]) -> Amount:
    specs = [node.spec for node in tensors.values()]
    return Amount(
        tensors=len(specs), parameters=sum(one.elements for one in specs), bytes=sum(one.bytes for one in specs)
    )
