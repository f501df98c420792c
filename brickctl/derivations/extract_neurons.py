"""`op = "extract-neurons"`: one group of a partition of neurons, with its weights.

gate and up rows, and down columns, of the neurons that the partition puts into the group, in every FFN
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.core.names import Alias
from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.derivations.storing import WEIGHTS, as_built
from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from brickctl.kinds.kind import kind_named
from brickctl.kinds.neuron_group import FILE, PLACES, config, is_outward, tensors_of
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.kinds.partition import Partition
from brickctl.tensors.tensor_file import new_tensor_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from brickctl.core.manifest import Derived
    from brickctl.core.model import LazyModel
    from brickctl.derivations.derivation import Bench
    from brickctl.errors import Place

_NEURONS = "neurons"
_LABEL = "extracting"
_EXAMPLE = 'write brick = "NAME", a brick of kind neurons, and group = 0'


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractNeurons:
    """The group of this number, counted from 0, of the brick that has the partition."""

    brick: Alias
    group: int
    place: Place | None = field(default=None, compare=False)

    kind = "neuron-group"
    version = 1
    inputs = ()
    tolerance = Tolerance()

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The partition."""
        return (self.brick,)

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        return {"op": "extract-neurons", "brick": self.brick, "group": self.group}

    def make(self, bench: Bench) -> Findings:
        """Store the neurons of the group, FFN by FFN."""
        partition, modules = self._partition(bench), self._modules(bench)
        bench.events.start(_LABEL, sum(_size(ffn, bench.start) for ffn in modules))
        with new_tensor_file(bench.folder / WEIGHTS) as file:
            for ffn in modules:
                neurons = partition.groups(ffn.path)[self.group]
                for name, tensor in self._tensors(bench, ffn, neurons):
                    file.add(name, tensor)
                bench.events.advance(_LABEL, _size(ffn, bench.start))
        bench.events.finish(_LABEL)
        (bench.folder / FILE).write_bytes(readable_json(config(bench.ingredients.base, self.group)))
        rows = ({"ffn": ffn.path, "neurons": len(partition.groups(ffn.path)[self.group])} for ffn in modules)
        return Findings(rows=tuple(rows))

    def _partition(self, bench: Bench) -> Partition:
        """The partition, which fits the base and has such a group.

        Raises:
            ManifestInvalid: the brick is of another kind, or has fewer groups.
            Misfit: it does not fit the base.
        """
        brick = bench.ingredients.brick(self.brick)
        if brick.kind != _NEURONS:
            message = f"`{self.brick}` is of kind {brick.kind}, and no partition of neurons"
            raise ManifestInvalid(message, place=self.place, hint=_EXAMPLE)
        kind_named(brick.kind).check(brick, bench.ingredients.base)
        partition = Partition(brick, bench.ingredients.read)
        count = partition.grouping.groups
        if self.group >= count:
            cause = f"`{self.brick}` has {count}, from 0 to {count - 1}"
            raise ManifestInvalid(f"there is no group {self.group}", causes=(cause,), place=self.place, hint=_EXAMPLE)
        return partition

    def _modules(self, bench: Bench) -> tuple[Ffn, ...]:
        """The FFNs of the model, which must be those of the base.

        Raises:
            Misfit: they are not.
        """
        modules = ffns(bench.start)
        if modules != ffns(bench.ingredients.base):
            cause = "its FFNs have other names or shapes than those of the base"
            raise Misfit("the partition does not fit the model", causes=(cause,), place=self.place)
        return modules

    def _tensors(self, bench: Bench, ffn: Ffn, neurons: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
        """The places of the neurons, and their parts of each tensor of the FFN."""
        import torch

        places = torch.tensor(neurons, dtype=torch.int32)
        yield ffn.path + PLACES, places
        for name in tensors_of(ffn, bench.start):
            node = as_built(name, bench.start, bench.ingredients.base)
            if not node.spec.dtype.is_mergeable:
                cause, hint = (
                    f"`{name}` is stored as {node.spec.dtype.code}",
                    "use the bf16 or fp32 release of the model",
                )
                message = "neurons of quantised weights are no brick"
                raise Unsupported(message, causes=(cause,), place=self.place, hint=hint)
            yield name, bench.tensor(node).index_select(-1 if is_outward(name) else 0, places.long())


def _size(ffn: Ffn, model: LazyModel) -> int:
    """Bytes of the tensors of an FFN, which are read whole."""
    return sum(model.tensors[name].spec.bytes for name in tensors_of(ffn, model))


def read_extract_neurons(derived: Derived) -> ExtractNeurons:
    """Read `{ op = "extract-neurons", from = NAME, brick = PARTITION, group = 3 }`.

    Raises:
        ManifestInvalid: no brick, or no number of a group.
    """
    table = derived.table.fresh()
    brick, group = table.string_or_none("brick"), table.integer_or_none("group")
    if brick is None or group is None:
        key = "brick" if brick is None else "group"
        raise table.missing(f"{table.where} has no `{key}`", key, hint=_EXAMPLE)
    if group < 0:
        raise table.error(f"{table.named('group')} must be 0 or more", key="group", hint=_EXAMPLE)
    table.finish()
    return ExtractNeurons(brick=Alias(brick), group=group, place=derived.place)


register("extract-neurons", read_extract_neurons)
