"""Grow experts: every FFN becomes a mixture of copies of itself, which training then sets apart."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.names import did_you_mean
from brickctl.errors import Unsupported
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.operations.dense_ffns import refuse_mixture, refuse_quantised, width_of
from brickctl.operations.into_mixture import ALIGNED, Expert, aligned, block_of, empty_expert, mixed, names_outside
from brickctl.operations.mixtures import (
    EMPTY_SHARED,
    Mixture,
    Sizes,
    mixture_for,
    refuse_strangers,
    refuse_unsayable,
    spoken,
)
from brickctl.operations.neuron_groups import down, gate, up, zero_matrix
from brickctl.operations.operation import Ingredients, Operation, refuse_masked, refuse_stacked, register
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.columns import ZEROS
from brickctl.tensors.draws import stream_key
from brickctl.tensors.uniform import uniform

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core import manifest
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node
    from brickctl.errors import Place

_MOST = 1024
"""Experts: more than any model has, and few enough to be planned at once."""

_ROUTERS = ("random", "zeros")
_DEVIATION = 0.02
"""Of the numbers of a random router: `initializer_range` of the mixtures."""

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
        """Put experts in the place of every FFN."""
        refuse_masked(artifact, self.place)
        refuse_stacked(artifact, "grow", self.place)
        root, modules = artifact.root, ffns(artifact.root)
        refuse_mixture(root.config, "grow", self.place)
        mixture = mixture_for(root.config, shared=False, place=self.place)
        self._refuse_none(modules)
        refuse_quantised(root, self.place)
        said = spoken(root.config, tied=bool(root.ties))
        refuse_unsayable(said, mixture, self.place)
        refuse_strangers(names_outside(root, modules), mixture, self.place)
        width = aligned(width_of(modules, self.place))
        sizes = Sizes(experts=self.experts, active=self.active, width=width, shared=0, layers=len(modules))
        tensors = mixed(root, modules, mixture, lambda ffn: self._block(root, ffn, mixture, width))
        config = mixture.config(said, sizes)
        model = dataclasses.replace(root, tensors=tensors, config=config, source_config=None)
        notes = (*artifact.notes, *self._notes(root, model, modules[0]))
        return dataclasses.replace(artifact, root=model, notes=notes, regrouped=True)

    def _refuse_none(self, modules: tuple[Ffn, ...]) -> None:
        if not modules:
            cause = "no FFN of it has `gate_proj`, `up_proj` and `down_proj`"
            raise Unsupported("the model has nothing that experts could be made of", causes=(cause,), place=self.place)

    def _block(self, model: LazyModel, ffn: Ffn, mixture: Mixture, width: int) -> Mapping[str, Node]:
        """What stands for one FFN: every expert is the same node, read from where the FFN is stored."""
        expert = _whole(model, ffn, width)
        shared = empty_expert(EMPTY_SHARED, ffn.hidden) if mixture.has_shared else None
        router = cast(self._router(ffn), expert[0].spec.dtype)
        return block_of(mixture, ffn, router, itertools.repeat(expert, self.experts), shared)

    def _router(self, ffn: Ffn) -> Node:
        """(experts, hidden): zeros, or numbers between -sqrt(3) and sqrt(3) times their deviation."""
        if self.router == "zeros":
            return zero_matrix(self.experts, ffn.hidden)
        stream = stream_key(self.seed, "", "grow-experts", ffn.path)
        return uniform((self.experts, ffn.hidden), stream, math.sqrt(3) * _DEVIATION)

    def _notes(self, dense: LazyModel, mixture: LazyModel, ffn: Ffn) -> Iterator[str]:
        before, after = (sum(node.spec.elements for node in model.tensors.values()) for model in (dense, mixture))
        yield (
            f"{self.experts} equal experts for each FFN, {self.active} of them active:"
            f" {after:,} parameters instead of {before:,}"
        )
        if ffn.neurons % ALIGNED:
            yield (
                f"experts of {ffn.neurons} neurons are filled up with zeros to {aligned(ffn.neurons)}:"
                f" transformers needs multiples of {ALIGNED}"
            )
        dtype = dense.tensors[f"{ffn.path}.down_proj.weight"].spec.dtype
        bits = {DType.BF16: 8, DType.F16: 11}.get(dtype, _EXACT_UP_TO)
        is_even = self.router == "zeros" and not self.active & (self.active - 1)
        if bits < _EXACT_UP_TO and self.active > 1 and not is_even:
            yield f"run in {dtype.torch_name}, weights of active experts add up to 1 up to rounding, about 2^-{bits}"


def _whole(model: LazyModel, ffn: Ffn, width: int) -> Expert:
    """All neurons of an FFN, filled up with zeros to the width of an expert."""
    neurons = (*range(ffn.neurons), *itertools.repeat(ZEROS, width - ffn.neurons))
    whole = model.tensors[f"{ffn.path}.down_proj.weight"]
    return gate(model, ffn.path, neurons), up(model, ffn.path, neurons), down(whole, neurons)


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
