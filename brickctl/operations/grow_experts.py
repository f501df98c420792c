"""Grow experts: every FFN becomes a mixture of copies of itself, which training then sets apart."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.names import did_you_mean
from brickctl.operations.neuron_groups import zero_matrix
from brickctl.operations.operation import Ingredients, Operation, register
from brickctl.operations.random_router import random_router
from brickctl.operations.upcycling import Dense, dense
from brickctl.tensors.arithmetic import cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from brickctl.core import manifest
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.kinds.neurons import Ffn
    from brickctl.operations.into_mixture import Expert

_MOST = 1024
"""Experts: more than any model has, and few enough to be planned at once."""

_ROUTERS = ("random", "zeros")
_EXACT_UP_TO = 24
"""Bits of fp32, which hold the weights of experts without a word about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowExperts:
    """A step that makes a mixture of `experts` copies of every FFN, `active` of which a token passes through."""

    experts: int
    active: int
    router: str
    seed: int
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"
    computes = True
    takes_layers = False
    inputs = ()
    aliases = ()

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out."""
        chance = {"seed": self.seed} if self.router == "random" else {}
        return {"op": "grow-experts", "experts": self.experts, "active": self.active, "router": self.router, **chance}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:  # noqa: ARG002 - only the running model counts
        """Put experts in the place of every FFN: each is the same node, read from where the FFN is stored."""
        found = dense(artifact, "grow", self.place)

        def make(ffn: Ffn) -> tuple[Node, Iterable[Expert]]:
            expert = found.expert(found.model, ffn)
            return cast(self._router(ffn), expert[0].spec.dtype), itertools.repeat(expert, self.experts)

        model = found.upcycled(self.experts, self.active, make)
        notes = (*artifact.notes, *self._notes(found, model))
        return dataclasses.replace(artifact, root=model, notes=notes, regrouped=True)

    def _router(self, ffn: Ffn) -> Node:
        if self.router == "zeros":
            return zero_matrix(self.experts, ffn.hidden)
        return random_router(self.experts, ffn, op="grow-experts", seed=self.seed)

    def _notes(self, found: Dense, mixture: LazyModel) -> Iterator[str]:
        before, after = (sum(node.spec.elements for node in one.tensors.values()) for one in (found.model, mixture))
        yield (
            f"{self.experts} equal experts for each FFN, {self.active} of them active:"
            f" {after:,} parameters instead of {before:,}"
        )
        yield from found.notes()
        dtype = found.model.tensors[f"{found.modules[0].path}.down_proj.weight"].spec.dtype
        bits = {DType.BF16: 8, DType.F16: 11}.get(dtype, _EXACT_UP_TO)
        is_even = self.router == "zeros" and not self.active & (self.active - 1)
        if bits < _EXACT_UP_TO and self.active > 1 and not is_even:
            yield f"run in {dtype.torch_name}, weights of active experts add up to 1 up to rounding, about 2^-{bits}"


def read_grow_experts(step: manifest.Step) -> Operation:
    """Read `{ op = "grow-experts", experts = E, active = K, router = "random", seed = 0 }`.

    Every FFN becomes E experts, each a copy of it, of which a token passes through K: sparse upcycling,
    https://arxiv.org/abs/2212.05055, into the stock mixture that a model of this type has (Mixtral for Llama and
    Mistral, Qwen2-MoE, Qwen3-MoE). The weights of the K always add up to 1, so until experts are trained apart the
    model says what it said, whatever the router.

    `router` is `random`, uniform numbers of mean 0 and deviation 0.02 by `seed`, module and element, so that tokens
    part from the first step of training on; or `zeros`, which chooses the same K experts for all tokens until it is
    trained.
    """
    table = step.table.fresh()
    experts, active = table.integer_or_none("experts"), table.integer_or_none("active")
    router, seed = table.string_or_none("router") or "random", table.integer_or_none("seed")
    if experts is None or active is None:
        hint = "write `experts = 8, active = 2`: how many there are, and how many a token passes through"
        raise table.missing("a grow-experts needs `experts` and `active`", "experts", "active", hint=hint)
    table.finish()
    if not 1 < experts <= _MOST:
        raise table.error(f"`experts` must be from 2 to {_MOST}", key="experts")
    if not 1 <= active <= experts:
        raise table.error("`active` must be from 1 to the number of experts", key="active")
    if router not in _ROUTERS:
        hint = did_you_mean(router, _ROUTERS) or f"write one of {', '.join(_ROUTERS)}"
        raise table.error(f"`{shown(router)}` is no router to begin with", key="router", hint=hint)
    if seed is not None and router != "random":
        raise table.error("`seed` is for a random router", key="seed")
    return GrowExperts(experts=experts, active=active, router=router, seed=seed or 0, place=step.place)


register("grow-experts", read_grow_experts)
