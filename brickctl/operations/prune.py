"""Prune: a smaller dense model, of the groups of neurons that some labels or bricks need."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.errors import ManifestInvalid
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.operations.dense_ffns import INNER_BIASES, PARTS, refuse_other_parts, width_of, with_width
from brickctl.operations.neuron_groups import Asked, down, gate, named_brick, up
from brickctl.operations.operation import Ingredients, Operation, register
from brickctl.tensors.columns import pick_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from brickctl.core import manifest
    from brickctl.core.document import Table
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.kinds.partition import Partition

_MOST_TOLD = 10
_DERIVE = {
    "label": "give lines of its `calibration` this label",
    "brick": "name this brick in the `bricks` of its [derived] entry",
}
_WHICH = (
    'write `keep = N` with `labels = [NAMES]`, `bricks = [NAMES]` or `by = "mass"`; or the numbers: `groups = [0, 3]`'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """A prune step: which groups stay, the same ones in every FFN (`groups`), or the `keep` heaviest of each.

    What counts is what groups put out for `labels`, and with each of `bricks` on the base; without either for all
    labels that the partition knows.
    """

    brick: Alias
    groups: tuple[int, ...] | None = None
    keep: int | None = None
    labels: tuple[str, ...] = ()
    bricks: tuple[str, ...] = ()
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
        """The step with every default written out."""
        if self.groups is not None:
            return {"op": "prune", "brick": self.brick, "groups": list(self.groups)}
        named = {"labels": list(self.labels), "bricks": list(self.bricks)}
        which: Mapping[str, Any] = {key: names for key, names in named.items() if names} or {"by": "mass"}
        return {"op": "prune", "brick": self.brick, "keep": self.keep, **which}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Leave out the neurons of all other groups."""
        asked = Asked("prune", self.brick, self.place)
        partition = asked.partition(artifact, ingredients)
        self._check_choice(partition)
        root, modules = artifact.root, ffns(artifact.root)
        refuse_other_parts(root, modules, "prune cannot make this model smaller", self.place)
        kept = {ffn.path: self._kept(partition, ffn.path) for ffn in modules}
        left = {ffn.path: _neurons(partition, ffn.path, kept[ffn.path]) for ffn in modules}
        before, after = width_of(modules, self.place), len(left[modules[0].path])
        tensors = {**root.tensors, **_biases(root, left)}
        for ffn in modules:
            tensors |= _pruned(root, ffn, left[ffn.path])
        config = with_width(root.config, before, after, self.place)
        model = dataclasses.replace(root, tensors=tensors, config=config, source_config=None)
        notes = (f"{after} of {before} neurons of each FFN are left", *_told(partition, kept))
        return dataclasses.replace(artifact, root=model, notes=(*artifact.notes, *notes), regrouped=True)

    def _check_choice(self, partition: Partition) -> None:
        """Make sure that the brick has the groups and labels that are named."""
        found = partition.grouping
        most = self.keep if self.groups is None else max(self.groups) + 1
        if most is not None and most > found.groups:
            wanted = f"{self.keep} groups" if self.groups is None else f"group {most - 1}"
            cause = f"it has {found.groups}, numbered from 0"
            raise ManifestInvalid(f"`{self.brick}` does not have {wanted}", causes=(cause,), place=self.place)
        self._check_names("label", self.labels, found.labels)
        self._check_names("brick", self.bricks, found.bricks)

    def _check_names(self, what: str, wanted: Sequence[str], known: Sequence[str]) -> None:
        strange = next((name for name in wanted if name not in known), None)
        if strange is not None:
            cause = f"it has {', '.join(map(shown, known))}" if known else f"it was derived without {what}s"
            message = f"`{self.brick}` knows no {what} `{shown(strange)}`"
            hint = did_you_mean(strange, known) or f"{_DERIVE[what]}, and derive it again"
            raise ManifestInvalid(message, causes=(cause,), place=self.place, hint=hint)

    def _kept(self, partition: Partition, ffn: str) -> tuple[int, ...]:
        """The groups of one FFN that stay: the first of those that carry as much."""
        if self.groups is not None:
            return self.groups
        import numpy as np

        mass, of_bricks, known = partition.mass(ffn), partition.mass_with_bricks(ffn), partition.grouping
        rows = [mass[known.labels.index(label)] for label in self.labels]
        rows += [of_bricks[known.bricks.index(name)] for name in self.bricks]
        carried = np.sum(rows or mass, axis=0).tolist()
        return tuple(sorted(range(len(carried)), key=lambda group: (-carried[group], group))[: self.keep])


def _neurons(partition: Partition, ffn: str, groups: Sequence[int]) -> tuple[int, ...]:
    """The neurons that stay, in the order in which they were."""
    members = partition.groups(ffn)
    return tuple(sorted((*partition.shared(ffn), *(neuron for group in groups for neuron in members[group]))))


def _pruned(model: LazyModel, ffn: Ffn, neurons: Sequence[int]) -> Mapping[str, Node]:
    made = (
        gate(model, ffn.path, neurons),
        up(model, ffn.path, neurons),
        down(model.tensors[f"{ffn.path}.down_proj.weight"], neurons),
    )
    return {f"{ffn.path}.{part}": node for part, node in zip(PARTS, made, strict=True)}


def _biases(model: LazyModel, left: Mapping[str, Sequence[int]]) -> dict[str, Node]:
    """The biases of the neurons that stay; that of the output is as before."""
    names = ((f"{path}.{part}", neurons) for path, neurons in left.items() for part in INNER_BIASES)
    return {name: pick_columns(model.tensors[name], neurons) for name, neurons in names if name in model.tensors}


def _told(partition: Partition, kept: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """How much of what all groups put out the ones that stay carry, for each of the first labels and bricks."""
    labels, bricks = partition.grouping.labels or ("all text",), partition.grouping.bricks
    yield from _shares({ffn: partition.mass(ffn) for ffn in kept}, [f"for {shown(name)}" for name in labels], kept)
    with_bricks = {ffn: partition.mass_with_bricks(ffn) for ffn in kept}
    yield from _shares(with_bricks, [f"with `{shown(name)}` on the base" for name in bricks], kept)


def _shares(
    mass: Mapping[str, NDArray[np.float64]], names: Sequence[str], kept: Mapping[str, Sequence[int]]
) -> Iterator[str]:
    for row, name in enumerate(names[:_MOST_TOLD]):
        shares = [_share(mass[ffn][row], groups) for ffn, groups in kept.items()]
        yield f"the groups that stay carry {sum(shares) / len(shares):.0%} of what all groups put out {name}"


def _share(mass: NDArray[np.float64], groups: Sequence[int]) -> float:
    total = float(mass.sum())
    return float(mass[list(groups)].sum()) / total if total else 1.0


def read_prune(step: manifest.Step) -> Operation:
    """Read `{ op = "prune", brick = NAME, keep = N, labels = [NAMES], bricks = [NAMES] }`, or with `by = "mass"`.

    `brick` is a partition of neurons. Of every FFN the N groups stay that put out most: for these `labels`, and with
    each of these `bricks` on the base, which the partition was derived with, summed over them; or by `mass`, for all
    labels. Or else, in all FFNs, the `groups = [NUMBERS]`. Shared neurons always stay.
    """
    table = step.table.fresh()
    brick = named_brick(table, "prune")
    keep, by, groups = table.integer_or_none("keep"), table.string_or_none("by"), _read_groups(table)
    labels, bricks = (_read_names(table, key) for key in ("labels", "bricks"))
    table.finish()
    counts = bool(labels or bricks)
    if (groups is None) == (keep is None) or (groups is not None and (counts or by is not None)):
        raise table.missing("a prune needs to be told which groups stay", "keep", "groups", hint=_WHICH)
    if keep is not None and (counts == (by is not None) or by not in (None, "mass")):
        raise table.missing("a prune needs to be told what counts", "labels", "bricks", "by", hint=_WHICH)
    if keep is not None and keep < 1:
        raise table.error("`keep` must be at least 1", key="keep")
    return Prune(brick=brick, groups=groups, keep=keep, labels=labels, bricks=bricks, place=step.place)


def _read_names(table: Table, key: str) -> tuple[str, ...]:
    names = table.strings_or_none(key)
    if names is not None and (not names or len(dict.fromkeys(names)) != len(names)):
        raise table.error(f"`{key}` names at least one {key.removesuffix('s')}, and each once", key=key)
    return names or ()


def _read_groups(table: Table) -> tuple[int, ...] | None:
    values = table.take("groups")
    if values is None:
        return None
    is_list = isinstance(values, list) and values and all(type(value) is int and value >= 0 for value in values)
    if not is_list or len(dict.fromkeys(values)) != len(values):
        raise table.error("`groups` is a list of numbers from 0 on, each once", key="groups")
    return tuple(sorted(values))


register("prune", read_prune)
