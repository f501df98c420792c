"""Split: a stock mixture of experts, whose experts are the groups of neurons of a dense model."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.errors import ManifestInvalid
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.operations.dense_ffns import width_of
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
from brickctl.operations.neuron_groups import Asked, down, gate, named_brick, up, zero_matrix
from brickctl.operations.operation import Ingredients, Operation, register
from brickctl.operations.router_scale import keeps_order, scale_of
from brickctl.tensors.arithmetic import scaled
from brickctl.tensors.columns import ZEROS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core import manifest
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.kinds.neurons import Grouping
    from brickctl.kinds.partition import Partition

_HALF = 2.0
"""What the shared expert is multiplied by: its gate of zeros lets half of it through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A split step: a partition of neurons, and how many of its groups are active for a token."""

    brick: Alias
    active: int
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"
    computes = True
    takes_layers = False
    inputs = ()

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The partition."""
        return (self.brick,)

    def document(self) -> Mapping[str, Any]:
        """The step."""
        return {"op": "split", "brick": self.brick, "active": self.active}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Put experts in the place of every FFN."""
        asked = Asked("split", self.brick, self.place)
        partition = asked.partition(artifact, ingredients)
        self._check_active(partition.grouping)
        root, modules = artifact.root, ffns(artifact.root)
        mixture = mixture_for(root.config, shared=partition.grouping.shared > 0, place=self.place)
        said = spoken(root.config, tied=bool(root.ties))
        refuse_unsayable(said, mixture, self.place)
        refuse_strangers(names_outside(root, modules), mixture, self.place)
        sizes = _sizes(partition.grouping, self.active, width_of(modules, self.place), len(modules))
        experts = Experts(partition, root, mixture, sizes)
        tensors = mixed(root, modules, mixture, experts.of)
        config = mixture.config(said, sizes)
        model = dataclasses.replace(root, tensors=tensors, config=config, source_config=None)
        notes = (*artifact.notes, *experts.notes(modules), *_overflows(ingredients.base, modules[0], self.active))
        return dataclasses.replace(artifact, root=model, notes=notes, regrouped=True)

    def _check_active(self, found: Grouping) -> None:
        """Make sure that there are as many groups, and something that chooses among them."""
        if self.active > found.groups:
            cause = f"it has {found.groups}"
            message = f"`{self.brick}` does not have {self.active} groups"
            raise ManifestInvalid(message, causes=(cause,), place=self.place)
        if self.active < found.groups and found.router not in ("linear", "similarity"):
            kind = "no router" if found.router is None else f"a router of the kind `{found.router}`"
            cause = f"it has {kind}; a stock mixture of experts holds one matrix, the logits of a linear router"
            hint = f'derive it with router = "linear", or let all groups be active: active = {found.groups}'
            message = f"`{self.brick}` has nothing that can choose {self.active} of {found.groups} groups"
            raise ManifestInvalid(message, causes=(cause,), place=self.place, hint=hint)


def read_split(step: manifest.Step) -> Operation:
    """Read `{ op = "split", brick = NAME, active = K }`.

    `brick` is a partition of neurons, whose groups become the experts; K of them are active for each token. With all
    of them active the result computes what the dense model does. Shared neurons are always active.
    """
    table = step.table.fresh()
    brick = named_brick(table, "split")
    active = table.integer("active")
    table.finish()
    if active < 1:
        raise table.error("`active` must be at least 1", key="active")
    return Split(brick=brick, active=active, place=step.place)


def _sizes(found: Grouping, active: int, neurons: int, layers: int) -> Sizes:
    width = aligned(-(-(neurons - found.shared) // found.groups))
    return Sizes(experts=found.groups, active=active, width=width, shared=found.shared, layers=layers)


class Experts:
    """The experts of one model: what stands in the place of each FFN."""

    def __init__(self, partition: Partition, model: LazyModel, mixture: Mixture, sizes: Sizes) -> None:
        self._partition = partition
        self._model = model
        self._mixture = mixture
        self._sizes = sizes

    def of(self, ffn: Ffn) -> Mapping[str, Node]:
        """The tensors of a router, of experts and of what is always on."""
        shared = self._shared(ffn) if self._mixture.has_shared else None
        return block_of(self._mixture, ffn, self._router(ffn), self._chosen(ffn), shared)

    def _chosen(self, ffn: Ffn) -> Iterator[Expert]:
        """The experts among which the router chooses."""
        for neurons in self._partition.groups(ffn.path):
            filled = (*neurons, *itertools.repeat(ZEROS, self._sizes.width - len(neurons)))
            yield self._expert(ffn.path, filled, self._sizes.active)

    def _expert(self, ffn: str, neurons: Sequence[int], factor: float) -> Expert:
        """Gate, up and down of some neurons, whose output is so many times as large."""
        whole = self._model.tensors[f"{ffn}.down_proj.weight"]
        louder = whole if factor == 1 else scaled(whole, float(factor))
        return gate(self._model, ffn, neurons), up(self._model, ffn, neurons), down(louder, neurons)

    def _shared(self, ffn: Ffn) -> Expert:
        neurons = self._partition.shared(ffn.path)
        if neurons:
            return self._expert(ffn.path, neurons, _HALF)
        return empty_expert(EMPTY_SHARED, ffn.hidden)

    def _router(self, ffn: Ffn) -> Node:
        """Logits that are all 0 where nothing is chosen, and else so small that all that are chosen weigh the same."""
        if self._sizes.active == self._sizes.experts:
            return zero_matrix(self._sizes.experts, ffn.hidden)
        return scaled(self._partition.router(ffn.path), self._scale(ffn))

    def _scale(self, ffn: Ffn) -> float:
        measured = self._partition.logits(ffn.path)
        return scale_of(1.0 if measured is None else measured[0])

    def notes(self, modules: Sequence[Ffn]) -> Iterator[str]:
        """What the user should know: layers whose routers no scale fits, and experts that get rounded."""
        sizes = self._sizes
        if sizes.width > (width := len(self._partition.groups(modules[0].path)[0])):
            yield (
                f"experts of {width} neurons are filled up with zeros to {sizes.width}: transformers needs multiples of"
                f" {ALIGNED}"
            )
        if sizes.active & (sizes.active - 1):
            yield f"{sizes.active} is no power of two: what experts put out times {sizes.active} is rounded once more"
        if sizes.active == sizes.experts:
            return
        measured = {ffn.path: self._partition.logits(ffn.path) for ffn in modules}
        unknown = [path for path, found in measured.items() if found is None]
        if unknown:
            yield f"the logits of {_some(unknown)} were not measured: their router is scaled as if their spread were 1"
        lost = [path for path, found in measured.items() if found is not None and not _fits(*found)]
        if lost:
            yield (
                f"no scale fits the router of {_some(lost)}: all that are chosen weigh the same, but which are chosen"
                " is up to rounding for more tokens than elsewhere"
            )


def _overflows(base: LazyModel, ffn: Ffn, active: int) -> Iterator[str]:
    """A note about float16, which ends at 65,504: with all of 32 experts active, an FFN at 2,100 may be beyond it."""
    if active > 1 and base.tensors[f"{ffn.path}.down_proj.weight"].spec.dtype is DType.F16:
        yield (
            f"experts put out {active} times as much as their neurons do, which may be too large for float16 and end in"
            ' NaN: write dtype = "bfloat16" into the target, or run it in bfloat16'
        )


def _fits(spread: float, gap: float) -> bool:
    """Whether the scale for this spread leaves the smallest useful gap between logits."""
    return keeps_order(scale_of(spread), gap)


def _some(paths: Sequence[str]) -> str:
    """All paths of a few, the first ones of many."""
    shown = ", ".join(f"`{path}`" for path in itertools.islice(paths, 5))
    return shown if len(paths) <= 5 else f"{shown} and {len(paths) - 5} more"  # noqa: PLR2004 - as many as are shown


register("split", read_split)
