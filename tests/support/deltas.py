"""Merge methods on deltas and the base that they are relative to, computed by the executor as in a build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.digests import sha256_bytes
from brickctl.core.parameters import each_of
from brickctl.merging.method import Part, combine
from tests.support.evaluating import evaluated
from tests.support.statistics import statistic_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.digests import Sha256
    from brickctl.core.nodes import Node
    from brickctl.merging.method import MergeMethod


def merged(  # noqa: PLR0913 - what a merge is made of, each by its name
    folder: Path,
    method: MergeMethod,
    inputs: Sequence[Tensor],
    *,
    weights: Sequence[float] = (),
    settings: Mapping[int, Mapping[str, float]] | None = None,
    base: Tensor | None = None,
    names: str = "abcdefgh",
    information: Sequence[Tensor | None] | None = None,
    **budget: Any,
) -> Tensor:
    """What a method makes of tensors, or of deltas and the `base` that they are relative to.

    Args:
        folder: where the tensors are written.
        method: with its parameters.
        inputs: one for each brick.
        weights: of the bricks; 1 each when left out.
        settings: what a brick, by its number, has for itself of the parameters.
        base: what deltas are relative to.
        names: one letter for each brick, which stands for its content.
        information: statistics of the bricks; made up by their names when left out, where the method asks for some.
        budget: threads and memory.
    """
    stored = {f"brick {at}": tensor.clone() for at, tensor in enumerate(inputs)} | (
        {} if base is None else {"base": base.clone()}
    )
    wanted = method.declared.statistic
    if wanted is not None and information is None:
        information = [statistic_of(wanted, tensor.shape, name) for name, tensor in zip(names, inputs, strict=False)]
    for at, known in enumerate(information or ()):
        stored |= {} if known is None else {f"statistic {at}": known.clone()}

    def make(nodes: Mapping[str, Node]) -> Node:
        parts = [
            Part(
                node=nodes[f"brick {at}"],
                weight=weights[at] if weights else 1.0,
                settings={**own_settings(method), **(settings or {}).get(at, {})},
                brick=brick_digest(names[at]),
                base=nodes.get("base"),
                statistic=nodes.get(f"statistic {at}"),
            )
            for at in range(len(inputs))
        ]
        return combine(method, parts, "layer.weight")

    return evaluated(folder, stored, make, **budget)


def own_settings(method: MergeMethod) -> dict[str, float]:
    """The parameters that each brick may have for itself, as the method has them."""
    return {name: getattr(method, name) for name in each_of(type(method))}


def by_mergekit(method: Any, base: Tensor, tuned: Sequence[Tensor], **parameters: Any) -> Tensor:
    """What a method of mergekit makes of a base and models, in their type."""
    from mergekit.merge_methods.base import TensorGroup

    group = TensorGroup.from_tensors([base, *tuned], base_index=0)
    (found,) = method([group], parameters=parameters)
    result: Tensor = found
    return result


def brick_digest(name: str) -> Sha256:
    """A digest that stands for the content of a brick."""
    return sha256_bytes(name.encode())
