"""How much bricks are in each other's way, each pair of them, layer by layer: known before anything is merged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from brickctl.analysis.interference import Interference, Known, Thin, Whole, interference, known
from brickctl.core.dtypes import DType
from brickctl.core.names import BASE
from brickctl.core.numbers import layer_of
from brickctl.errors import Misfit
from brickctl.operations.stack import STACKED
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.factored import as_stored, product_of
from brickctl.tensors.whole_tensors import WholeTensors
from brickctl.workflows.assemble import assemble
from brickctl.workflows.comparing.advice import Advice, advise
from brickctl.workflows.install import bring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core.lock import Lock
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node
    from brickctl.core.ports import Progress
    from brickctl.operations.operation import Ingredients
    from brickctl.workflows.session import Session

_LABEL = "comparing bricks"
_LARGEST_SQUARE = 1e70
"""Of a norm of which fourth powers can be summed and multiplied in fp64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two bricks: what they do to each other in all, and in each layer.

    `layers` are in their order, by number; None is what lies outside of all layers. `merged_only` are those of the two
    that no stack or route takes as they are.
    """

    one: Alias
    other: Alias
    total: Interference
    layers: Mapping[int | None, Interference]
    merged_only: tuple[Alias, ...] = ()

    @property
    def advice(self) -> Advice:
        """What to try first with the two."""
        return advise(self.one, self.other, self.total, self.merged_only)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        layers = [{"layer": layer, **figures(sums)} for layer, sums in self.layers.items()]
        bricks = {"bricks": [self.one, self.other]}
        return {**bricks, **figures(self.total), "advice": self.advice.document(), "layers": layers}


def interference_of(session: Session, lock: Lock, aliases: Sequence[Alias]) -> tuple[Pair, ...]:
    """Each pair of some bricks of a project, in the order in which they are named; fetches what is not here.

    Raises:
        Misfit, Unsupported: a brick does not fit the base, changes nothing of it, or holds NaN or infinity.
        IntegrityFault, TransportFault, OfflineMiss: its files cannot be had.
    """
    assemble(session, lock, aliases)  # what does not fit is refused before anything is fetched
    installed = bring(session, lock, (BASE, *aliases))
    ingredients = assemble(session, lock, aliases)
    with Blobs(installed.files) as blobs:
        return pairs_of(ingredients, aliases, WholeTensors(blobs), session.events)


def pairs_of(
    ingredients: Ingredients, aliases: Sequence[Alias], tensors: WholeTensors, progress: Progress
) -> tuple[Pair, ...]:
    """Each pair of bricks, tensor by tensor: no more than one tensor of each brick is in memory at once."""
    pairs = tuple(combinations(aliases, 2))
    layers: dict[tuple[Alias, Alias], dict[int | None, Interference]] = {pair: {} for pair in pairs}
    deltas = {alias: dict(_deltas(ingredients, alias)) for alias in aliases}
    names = [name for name in _names(ingredients) if any(name in own for own in deltas.values())]
    progress.start(_LABEL, len(names), "tensors")
    for name in names:
        found = {alias: _measured(alias, name, own[name], tensors) for alias, own in deltas.items() if name in own}
        for one, other in pairs:
            if one in found or other in found:
                sums = layers[one, other]
                layer = layer_of(name)
                sums[layer] = sums.get(layer, Interference()) + interference(found.get(one), found.get(other))
        progress.advance(_LABEL, 1)
    progress.finish(_LABEL)
    whole = [alias for alias in aliases if ingredients.brick(alias).kind not in STACKED]
    return tuple(_pair(one, other, layers[one, other], whole) for one, other in pairs)


def figures(sums: Interference) -> dict[str, Any]:
    """The figures of some tensors, as JSON; None is what cannot be known."""
    first, second = sums.norms
    loudness = sums.loudness
    return {
        "norms": [first, second],
        "joint-norm": sums.joint_norm,
        "norm-ratio": sums.norm_ratio,
        "distance": sums.distance,
        "cosine": sums.cosine,
        "input-overlap": sums.input_overlap,
        "output-overlap": sums.output_overlap,
        "loudness": None if loudness is None else list(loudness),
        "sign-conflicts": sums.conflicts,
    }


def _pair(one: Alias, other: Alias, layers: Mapping[int | None, Interference], whole: Sequence[Alias]) -> Pair:
    order = sorted(layers, key=lambda layer: (layer is not None, layer or 0))
    total = Interference()
    for layer in order:
        total += layers[layer]
    ordered = {layer: layers[layer] for layer in order}
    merged_only = tuple(alias for alias in (one, other) if alias in whole)
    return Pair(one=one, other=other, total=total, layers=ordered, merged_only=merged_only)


def _names(ingredients: Ingredients) -> tuple[str, ...]:
    return (*ingredients.base.tensors, *ingredients.base.ties)


def _deltas(ingredients: Ingredients, alias: Alias) -> Iterator[tuple[str, Node]]:
    """What a brick does to each tensor of the base; a head that goes with its embedding is not counted twice."""
    changes, ties = ingredients.changes(alias), ingredients.base.ties
    for name, change in changes.items():
        tied = changes.get(ties.get(name, ""))
        if change.delta is not None and (tied is None or tied.delta != change.delta):
            yield name, change.delta


def _measured(alias: Alias, name: str, delta: Node, tensors: WholeTensors) -> Known:
    """A delta, measured.

    Raises:
        Misfit: it holds NaN or infinity, or numbers that no weights have.
    """
    try:
        found = _known(delta, tensors)
    except Misfit as fault:
        message = f"what `{alias}` does to `{name}` is not finite"
        raise Misfit(message, causes=fault.causes, hint=fault.hint) from None
    if not found.square < _LARGEST_SQUARE:
        cause = f"its norm is {math.sqrt(found.square):.0e}"
        raise Misfit(f"what `{alias}` does to `{name}` is too large to be compared", causes=(cause,))
    return found


def _known(delta: Node, tensors: WholeTensors) -> Known:
    """A delta as its factors, where it has some, or else whole and in fp32."""
    product = product_of(delta)
    if product is None:
        whole = tensors.tensor(cast(delta, DType.F32))
        return known(Whole(whole.reshape(*_seen_as_matrix(delta))))
    left, right = (tensors.tensor(cast(as_stored(one), DType.F64)) for one in (product.left, product.right))
    return known(Thin(left * product.scale, right))


def _seen_as_matrix(delta: Node) -> tuple[int, int]:
    """Rows and columns of a tensor of any shape: its first dimension, and all others; a vector is one row."""
    shape = delta.spec.shape
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, delta.spec.elements)
