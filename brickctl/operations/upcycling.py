"""A dense model on its way to a mixture of experts: what it must be, and what it becomes."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.errors import Unsupported
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.operations.dense_ffns import PARTS, refuse_mixture, refuse_quantised, width_of
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
from brickctl.operations.neuron_groups import down, rows_of
from brickctl.operations.operation import refuse_masked, refuse_stacked
from brickctl.tensors.columns import ZEROS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node
    from brickctl.errors import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A dense model whose FFNs can each become experts of a stock mixture.

    Attributes:
        model: what it is.
        modules: its FFNs, at least one, all of one width.
        mixture: what it can become.
        said: its configuration, with what that leaves unsaid.
    """

    model: LazyModel
    modules: tuple[Ffn, ...]
    mixture: Mixture
    said: Mapping[str, Any]

    @property
    def width(self) -> int:
        """How many neurons an expert has: those of an FFN, filled up to what transformers multiplies at once."""
        return aligned(self.modules[0].neurons)

    def expert(self, model: LazyModel, ffn: Ffn) -> Expert:
        """The whole FFN of a model as an expert: its matrices, filled up where they have to be."""
        first, second, third = (model.tensors[f"{ffn.path}.{part}"] for part in PARTS)
        if self.width == ffn.neurons:
            return first, second, third
        neurons = (*range(ffn.neurons), *itertools.repeat(ZEROS, self.width - ffn.neurons))
        return rows_of(first, neurons), rows_of(second, neurons), down(third, neurons)

    def upcycled(self, experts: int, active: int, make: Callable[[Ffn], tuple[Node, Iterable[Expert]]]) -> LazyModel:
        """The mixture, with the router and the experts that are made for each FFN; their weights add up to 1."""

        def block(ffn: Ffn) -> Mapping[str, Node]:
            shared = empty_expert(EMPTY_SHARED, ffn.hidden) if self.mixture.has_shared else None
            return block_of(self.mixture, ffn, *make(ffn), shared)

        tensors = mixed(self.model, self.modules, self.mixture, block)
        sizes = Sizes(experts=experts, active=active, width=self.width, shared=0, layers=len(self.modules))
        config = self.mixture.config(self.said, sizes)
        return dataclasses.replace(self.model, tensors=tensors, config=config, source_config=None)

    def notes(self) -> Iterator[str]:
        """What transformers makes of the width of experts."""
        neurons = self.modules[0].neurons
        if neurons % ALIGNED:
            yield (
                f"experts of {neurons} neurons are filled up with zeros to {self.width}: transformers needs multiples"
                f" of {ALIGNED}"
            )


def dense(artifact: Artifact, op: str, place: Place | None) -> Dense:
    """The running model, which a step makes a mixture of; messages say that the step is to `op` a model.

    Raises:
        Unsupported: it is a mixture already, quantised, or nothing that a stock mixture can speak for.
        ManifestInvalid: adapters or masks stand beside it.
    """
    refuse_masked(artifact, place)
    refuse_stacked(artifact, op, place)
    model, modules = artifact.root, ffns(artifact.root)
    refuse_mixture(model.config, op, place)
    mixture = mixture_for(model.config, shared=False, place=place)
    if not modules:
        cause = "no FFN of it has `gate_proj`, `up_proj` and `down_proj`"
        raise Unsupported("the model has nothing that experts could be made of", causes=(cause,), place=place)
    refuse_quantised(model, place)
    width_of(modules, place)
    said = spoken(model.config, tied=bool(model.ties))
    refuse_unsayable(said, mixture, place)
    refuse_strangers(names_outside(model, modules), mixture, place)
    return Dense(model=model, modules=modules, mixture=mixture, said=said)
