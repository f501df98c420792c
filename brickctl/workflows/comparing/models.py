"""Two models, tensor by tensor: which of them changed, by how much, and what differs beside the weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from brickctl.core.nodes import Stored, key
from brickctl.core.numbers import layer_of
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.differences import Difference, difference, read_difference, strongest_square
from brickctl.tensors.whole_tensors import WholeTensors
from brickctl.workflows.comparing.documents import FileChange, KeyChange, digests, file_changes, key_changes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from brickctl.core.digests import Sha256
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.core.ports import Progress
    from brickctl.core.regions import Spec
    from brickctl.workflows.comparing.sides import Side

_LABEL = "comparing tensors"
_CHUNK = 1 << 20
"""Bytes that are compared at once, of tensors that are no plain numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorChange:
    """What became of one tensor.

    Attributes:
        what: `added`, `removed`, `reshaped`, `retyped` (and its numbers may be the same), or `changed`.
        before, after: type and shape; None where there is none.
        figures: how far it is from what it was; None where that means nothing.
        stable_rank: |d|_F^2 / |d|_2^2 of the difference of a matrix.
    """

    name: str
    what: str
    before: Spec | None
    after: Spec | None
    figures: Difference | None = None
    stable_rank: float | None = None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "what": self.what,
            "layer": layer_of(self.name),
            "before": _spec(self.before),
            "after": _spec(self.after),
            **figures(self.figures),
            "stable-rank": self.stable_rank,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """The tensors of one layer, None outside of all; `figures` are sums over those that changed in one shape."""

    layer: int | None
    tensors: int = 0
    changed: int = 0
    figures: Difference = field(default_factory=Difference)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"layer": self.layer, "tensors": self.tensors, "changed": self.changed, **figures(self.figures)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDifference:
    """What differs between two models.

    Attributes:
        same: how many tensors hold what they held.
        tensors: the others, in the order of the first model, then those that only the second has.
        layers: sums over the tensors of each, in their order.
        files: beside the weights, and not equal; none where one of the two is an adapter.
        keys: of `config.json` and other documents, by file and key; likewise.
    """

    before: str
    after: str
    same: int
    tensors: tuple[TensorChange, ...]
    layers: tuple[LayerChange, ...]
    files: tuple[FileChange, ...]
    keys: tuple[KeyChange, ...]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.tensors and not self.files

    @property
    def total(self) -> Difference:
        """Over all tensors that changed and kept their shape."""
        found = Difference()
        for layer in self.layers:
            found += layer.figures
        return found

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "compared": "models",
            "before": self.before,
            "after": self.after,
            "equal": self.is_equal,
            "same": self.same,
            "total": figures(self.total),
            "tensors": [one.document() for one in self.tensors],
            "layers": [one.document() for one in self.layers],
            "files": [one.document() for one in self.files],
            "keys": [one.document() for one in self.keys],
        }


def compare_models(before: Side, after: Side, base: Side | None, progress: Progress) -> ModelDifference:
    """Hold two models against each other; an adapter is the model that it makes of the base.

    Tensors of equal nodes are equal, and are not read; others are read block by block, both at once.

    Raises:
        Misfit, Unsupported: one of them is no model, or does not fit the base.
    """
    models = before.model(base), after.model(base)
    files = {**({} if base is None else base.files), **before.files, **after.files}
    with Blobs(files) as blobs:
        comparison = _Comparison(blobs, WholeTensors(blobs))
        found = list(_watched(comparison, *models, progress))
    changes = tuple(change for _, change in found if change is not None)
    beside = before.is_model and after.is_model  # an adapter has no files that a model has
    return ModelDifference(
        before=before.name,
        after=after.name,
        same=len(found) - len(changes),
        tensors=changes,
        layers=_by_layer(found),
        files=file_changes(_files(before), _files(after)) if beside else (),
        keys=key_changes(before.brick, after.brick) if beside else (),
    )


def _files(side: Side) -> Mapping[str, Sha256]:
    """What is compared by digests: the files of a model but its weights, and all of adapters beside it."""
    return {**digests(side.brick), **side.beside}


def figures(found: Difference | None) -> dict[str, Any]:
    """A difference as JSON; None is what cannot be known."""
    return {
        "norm": None if found is None else found.norm,
        "relative": None if found is None else found.relative,
        "cosine": None if found is None else found.cosine,
        "largest": None if found is None else found.largest,
        "changed-share": None if found is None or not found.elements else found.changed / found.elements,
        "sign-agreement": None if found is None else found.sign_agreement,
        "not-finite": None if found is None else found.unknown,
    }


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The files of both models."""

    blobs: Blobs
    tensors: WholeTensors

    def change(self, name: str, before: Node | None, after: Node | None) -> TensorChange | None:
        """What became of one tensor; None if it holds what it held."""
        if before is None or after is None:
            return _changed(name, "added" if before is None else "removed", before, after)
        if before.spec.shape != after.spec.shape:
            return _changed(name, "reshaped", before, after)
        if key(before) == key(after):
            return None
        what = "retyped" if _is_retyped(before, after) else "changed"
        if not (before.spec.dtype.is_mergeable and after.spec.dtype.is_mergeable):
            same = what == "changed" and self._same_bytes(before, after)
            return None if same else _changed(name, what, before, after)
        numbers = self.tensors.tensor(difference(before, after)).reshape(-1).tolist()
        found = read_difference(numbers, before.spec.elements)
        if found.is_equal and what == "changed":
            return None
        return replace(
            _changed(name, what, before, after), figures=found, stable_rank=self._stable_rank(before, after, found)
        )

    def _stable_rank(self, before: Node, after: Node, found: Difference) -> float | None:
        if min(before.spec.rows, before.spec.columns) <= 1 or found.unknown or not found.square:
            return None
        strongest = float(self.tensors.tensor(strongest_square(before, after)))
        return found.square / strongest if strongest > 0.0 else None

    def _same_bytes(self, before: Node, after: Node) -> bool:
        """Whether two stored tensors of one type and shape, which are no plain numbers, hold the same bytes."""
        if not isinstance(before, Stored) or not isinstance(after, Stored):
            return False
        parts = bytearray(_CHUNK), bytearray(_CHUNK)
        for begin in range(0, before.spec.bytes, _CHUNK):
            size = min(_CHUNK, before.spec.bytes - begin)
            for node, part in zip((before, after), parts, strict=True):
                self.blobs.read(node.blob, node.offset + begin, memoryview(part)[:size])
            if parts[0][:size] != parts[1][:size]:
                return False
        return True


def _is_retyped(before: Node, after: Node) -> bool:
    """Whether two stored tensors have two types; what is computed has one only when it is stored."""
    both = isinstance(before, Stored) and isinstance(after, Stored)
    return both and before.spec.dtype is not after.spec.dtype


def _watched(
    comparison: _Comparison, before: LazyModel, after: LazyModel, progress: Progress
) -> Iterator[tuple[str, TensorChange | None]]:
    """Every tensor of either model, with progress by the bytes of both."""
    names = dict.fromkeys((*before.tensors, *after.tensors))
    pairs = [(name, before.tensors.get(name), after.tensors.get(name)) for name in names]
    sizes = [sum(0 if node is None else node.spec.bytes for node in pair[1:]) for pair in pairs]
    progress.start(_LABEL, sum(sizes))
    for (name, mine, theirs), size in zip(pairs, sizes, strict=True):
        yield name, comparison.change(name, mine, theirs)
        progress.advance(_LABEL, size)
    progress.finish(_LABEL)


def _changed(name: str, what: str, before: Node | None, after: Node | None) -> TensorChange:
    specs = [None if node is None else node.spec for node in (before, after)]
    return TensorChange(name=name, what=what, before=specs[0], after=specs[1])


def _by_layer(found: Iterable[tuple[str, TensorChange | None]]) -> tuple[LayerChange, ...]:
    """Sums over the tensors of each layer; what lies outside of all comes first."""
    sums: dict[int | None, LayerChange] = {}
    for name, change in found:
        layer = layer_of(name)
        have = sums.get(layer, LayerChange(layer=layer))
        own = None if change is None else change.figures
        sums[layer] = LayerChange(
            layer=layer,
            tensors=have.tensors + 1,
            changed=have.changed + (change is not None),
            figures=have.figures if own is None else have.figures + own,
        )
    return tuple(sums[layer] for layer in sorted(sums, key=lambda one: (one is not None, one or 0)))


def _spec(spec: Spec | None) -> Mapping[str, Any] | None:
    return None if spec is None else {"dtype": spec.dtype.code, "shape": list(spec.shape)}
