"""What differs between the model that a brick is made from and the base: where an extraction begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.expert import is_buffer
from brickctl.tensors.arithmetic import subtract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.derivations.derivation import Bench
    from brickctl.errors import Place

_OF_THE_BASE = "extract from a model with the tensors of the base: a fine-tune of it, or an adapter merged into it"


@dataclass(frozen=True, slots=True)
class Difference:
    """A tensor of which the model has another one than the base."""

    name: str
    tuned: Node
    base: Node

    def read(self, bench: Bench) -> Tensor:
        """The difference tuned - base, in fp64 and in the shape of the base.

        Raises:
            Misfit: it holds NaN or infinity.
        """
        try:
            return bench.tensor(subtract(self.tuned, self.base))
        except Misfit as fault:
            message = f"the difference of `{self.name}` is not finite"
            raise Misfit(message, causes=fault.causes, hint=fault.hint) from None


def differences(bench: Bench, place: Place | None) -> tuple[Difference, ...]:
    """The tensors that come from other bytes than those of the base, in its order; they may be equal all the same.

    A tied head belongs to its embedding, unless the model has cut the tie.

    Raises:
        Misfit: the model has not the tensors of the base, or is the base.
        Unsupported: one of the two is quantised.
    """
    model, base = bench.start, bench.ingredients.base
    _check_names(model, base, place)
    found = tuple(one for one in _pairs(model, base) if one.tuned != one.base and _is_plain(one, place))
    if not found:
        raise no_difference(place)
    return found


def no_difference(place: Place | None) -> Misfit:
    """An error about a model that is the base, to be raised by the caller."""
    hint = 'name a model that was tuned, as by from = "NAME"'
    return Misfit("there is nothing to extract: the model is the base", place=place, hint=hint)


def _pairs(model: LazyModel, base: LazyModel) -> Iterator[Difference]:
    for name in (*base.tensors, *base.ties):
        if name not in base.ties or base.ties[name] != model.ties.get(name):
            yield Difference(name, model.node(name), base.node(name))


def _check_names(model: LazyModel, base: LazyModel, place: Place | None) -> None:
    ours, theirs = ((*one.tensors, *one.ties) for one in (model, base))
    cause = next((f"it has `{name}` and the base does not" for name in ours if name not in theirs), None)
    cause = cause or next((f"the base has `{name}` and it does not" for name in theirs if name not in ours), None)
    for name in theirs if cause is None else ():
        shapes = [list(one.node(name).spec.shape) for one in (model, base)]
        if shapes[0] != shapes[1]:
            cause = f"`{name}` has shape {shapes[0]}; the base has {shapes[1]}"
            break
    if cause is not None:
        message = "the model is no fine-tune of the base, so that there is no difference to extract"
        raise Misfit(message, causes=(cause,), place=place, hint=_OF_THE_BASE)


def _is_plain(one: Difference, place: Place | None) -> bool:
    """Whether it is a difference of numbers, and not a buffer.

    Raises:
        Unsupported: quantised weights.
    """
    odd = next((node for node in (one.tuned, one.base) if not node.spec.dtype.is_mergeable), None)
    if odd is None or is_buffer(one.name, odd.spec):
        return odd is None
    cause = f"`{one.name}` is stored as {odd.spec.dtype.code}"
    hint = "use the bf16 or fp32 release of the model"
    raise Unsupported("quantised weights have no difference", causes=(cause,), place=place, hint=hint)
