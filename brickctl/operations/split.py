"""Split: a stock mixture of experts, whose experts are the groups of neurons of a dense model."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.errors import ManifestInvalid
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.operations.dense_ffns import PARTS, width_of
from brickctl.operations.mixtures import (
    COMPUTED,
    EMPTY_SHARED,
    QKV_BIASES,
    QWEN2_MOE,
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
from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from brickctl.core import manifest
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.kinds.neurons import Grouping
    from brickctl.kinds.partition import Partition

_ALIGNED = 8
"""Grouped products of torch need rows of a multiple of 16 bytes: as many neurons in 16 bits, half as many in 32."""

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
        outside = _names_outside(root, modules)
        refuse_strangers((*outside, *root.ties), mixture, self.place)
        sizes = _sizes(partition.grouping, self.active, width_of(modules, self.place), len(modules))
        experts = Experts(partition, root, mixture, sizes)
        tensors = dict(_with_biases(_with_ffns(root.tensors, modules, experts.of), mixture))
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


def _names_outside(model: LazyModel, modules: Sequence[Ffn]) -> tuple[str, ...]:
    """The names of the tensors that are no matrix of an FFN."""
    return tuple(_with_ffns(model.tensors, modules, lambda _: {}))


def _sizes(found: Grouping, active: int, neurons: int, layers: int) -> Sizes:
    width = -(-(neurons - found.shared) // (found.groups * _ALIGNED)) * _ALIGNED
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
        block = f"{ffn.path.rpartition('.')[0]}.{self._mixture.block}"
        tensors = {f"{block}.gate.weight": self._router(ffn)}
        for number, neurons in enumerate(self._partition.groups(ffn.path)):
            filled = (*neurons, *itertools.repeat(ZEROS, self._sizes.width - len(neurons)))
            made = self._expert(ffn.path, filled, self._sizes.active)
            names = (f"{block}.experts.{number}.{name}.weight" for name in self._mixture.names)
            tensors |= dict(zip(names, made, strict=True))
        if self._mixture.has_shared:
            names = (f"{block}.shared_expert.{name}.weight" for name in self._mixture.names)
            tensors |= dict(zip(names, self._shared(ffn), strict=True))
            tensors[f"{block}.shared_expert_gate.weight"] = zero_matrix(1, ffn.hidden)
        return tensors

    def _expert(self, ffn: str, neurons: Sequence[int], factor: float) -> tuple[Node, Node, Node]:
        """Gate, up and down of some neurons, whose output is so many times as large."""
        whole = self._model.tensors[f"{ffn}.down_proj.weight"]
        louder = whole if factor == 1 else scaled(whole, float(factor))
        return gate(self._model, ffn, neurons), up(self._model, ffn, neurons), down(louder, neurons)

    def _shared(self, ffn: Ffn) -> tuple[Node, Node, Node]:
        neurons = self._partition.shared(ffn.path)
        if neurons:
            return self._expert(ffn.path, neurons, _HALF)
        nothing = zero_matrix(EMPTY_SHARED, ffn.hidden)
        return nothing, nothing, zero_matrix(ffn.hidden, EMPTY_SHARED)

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
                f" {_ALIGNED}"
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


def _with_ffns(
    tensors: Mapping[str, Node], modules: Iterable[Ffn], make: Callable[[Ffn], Mapping[str, Node]]
) -> dict[str, Node]:
    """The tensors with what is made of each FFN where its first matrix stood."""
    owners = {f"{ffn.path}.{part}": ffn for ffn in modules for part in PARTS}
    return dict(_replaced(tensors, owners, make))


def _replaced(
    tensors: Mapping[str, Node], owners: Mapping[str, Ffn], make: Callable[[Ffn], Mapping[str, Node]]
) -> Iterator[tuple[str, Node]]:
    done = dict[str, None]()
    for name, node in tensors.items():
        ffn = owners.get(name)
        if ffn is None:
            yield name, node
        elif ffn.path not in done:
            done[ffn.path] = None
            yield from make(ffn).items()


def _with_biases(tensors: Mapping[str, Node], mixture: Mixture) -> Iterator[tuple[str, Node]]:
    """The tensors with the biases that the mixture wants and the base does not have, and without what is computed."""
    for name, node in tensors.items():
        if name.endswith(COMPUTED):
            continue
        yield name, node
        bias = f"{name.removesuffix('.weight')}.bias"
        if mixture is QWEN2_MOE and bias.endswith(QKV_BIASES) and bias not in tensors:
            yield bias, reshape(zero_matrix(1, node.spec.rows), (node.spec.rows,))


register("split", read_split)
