"""`op = "extract-delta"`: the task vector of a model, tuned minus base, sparse or in few bits.

    delta = tuned - base, of which the `density * n` largest entries by magnitude are kept, or all, in `bits` each

Matrices are compressed one by one; vectors, such as norms and biases, stay whole in fp32. With 1 bit it is BitDelta
(arXiv 2402.10193) without its training of the factors.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.core.dtypes import DType
from brickctl.derivations.derivation import Findings, Tolerance, register
from brickctl.derivations.differences import Difference, differences, no_difference
from brickctl.derivations.storing import WEIGHTS, each, figure, read_dtype
from brickctl.errors import Unsupported
from brickctl.kinds.delta import CODES, FACTORS, FILE, LARGEST_GROUP, PLACES, VALUES, WHOLE, Storage
from brickctl.tensors.bits import rows_and_columns
from brickctl.tensors.placed import MOST_ELEMENTS, largest_places
from brickctl.tensors.quantised import BITS, quantised, values_of
from brickctl.tensors.tensor_file import new_tensor_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from brickctl.core.document import Table
    from brickctl.core.manifest import Derived
    from brickctl.derivations.derivation import Bench
    from brickctl.errors import Place
    from brickctl.tensors.tensor_file import TensorFile

_MATRIX = 2
_GROUPS = {8: 0, 4: 64, 1: 0}
"""Columns that share a factor unless told otherwise; 0: whole rows."""

_EXAMPLE = "write density = 0.1, or bits = 8, 4 or 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractDelta:
    """A task vector of a stated size.

    `density` is None where all entries are kept, in the bits of `storage`; `dtype` is that of kept entries.
    """

    storage: Storage
    density: float | None = None
    dtype: DType = DType.BF16
    place: Place | None = field(default=None, compare=False)

    kind = "delta"
    version = 1
    aliases = ()
    inputs = ()
    tolerance = Tolerance(floats=1e-6)

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out."""
        if self.density is not None:
            return {"op": "extract-delta", "density": self.density, "dtype": self.dtype.torch_name}
        return {"op": "extract-delta", "bits": self.storage.bits, "group": self.storage.group}

    def make(self, bench: Bench) -> Findings:
        """Store the difference of every tensor that has one."""
        found = differences(bench, self.place)
        with new_tensor_file(bench.folder / WEIGHTS) as file:
            rows = tuple(row for one in each(found, bench) for row in self._add(one, bench, file))
            if not rows:
                raise no_difference(self.place)
        (bench.folder / FILE).write_bytes(readable_json(self.storage.document(bench.ingredients.base)))
        return Findings(rows=rows)

    def _add(self, one: Difference, bench: Bench, file: TensorFile) -> Iterator[Mapping[str, Any]]:
        """Store one difference, and say how far what is stored is from it; nothing where all of it is 0.

        A head that the base ties and the model does not is stored in any case, as it would else follow its embedding.
        """
        delta = one.read(bench)
        norm = float(delta.norm())
        if norm == 0.0 and one.name not in bench.ingredients.base.ties:
            return
        parts, restored = self._stored(one, delta)
        for part, tensor in parts.items():
            file.add(one.name + part, tensor)
        yield {
            "tensor": one.name,
            "stored": self._word(parts),
            "bytes": sum(tensor.nbytes for tensor in parts.values()),
            "error": figure(float((restored - delta).norm()) / norm if norm else 0.0),
        }

    def _stored(self, one: Difference, delta: Tensor) -> tuple[Mapping[str, Tensor], Tensor]:
        """What the file gets of a difference, by the ends of names, and what that stands for, in fp64."""
        if delta.dim() < _MATRIX:
            whole = delta.float()
            return {WHOLE: whole}, whole.double()
        if self.density is not None:
            return self._sparse(one, delta, self.density)
        bits, group, (rows, columns) = self.storage.bits or 0, self.storage.group, rows_and_columns(tuple(delta.shape))
        codes, factors = quantised(delta, bits, group)
        restored = values_of(codes, factors, bits, group, columns).view(rows, columns)
        return {CODES: codes, FACTORS: factors}, restored.view(delta.shape)

    def _sparse(self, one: Difference, delta: Tensor, density: float) -> tuple[Mapping[str, Tensor], Tensor]:
        import torch

        if delta.numel() > MOST_ELEMENTS:
            cause = f"`{one.name}` has {delta.numel():,} elements; places of 32 bits number {MOST_ELEMENTS:,}"
            message = "a tensor is too large for a sparse delta"
            raise Unsupported(message, causes=(cause,), place=self.place, hint="write bits = 8, 4 or 1 instead")
        places = largest_places(delta, max(1, round(density * delta.numel())))
        values = delta.flatten()[places.long()].to(getattr(torch, str(self.dtype.torch_name)))
        restored = torch.zeros_like(delta)
        restored.view(-1)[places.long()] = values.double()
        return {PLACES: places, VALUES: values}, restored

    def _word(self, parts: Mapping[str, Tensor]) -> str:
        """How a tensor is stored, for the table."""
        if WHOLE in parts:
            return "whole"
        return f"{self.storage.bits} bits" if self.density is None else f"{parts[VALUES].numel()} entries"


def read_extract_delta(derived: Derived) -> ExtractDelta:
    """Read `{ op = "extract-delta", from = NAME, density = 0.1 }`, or instead of `density` the `bits`: 8, 4 or 1.

    `density` is the share of the entries of each matrix that is kept, the largest, as `dtype` (`bfloat16`). With `bits`
    all are kept, `group` of a row with one factor; 0 stands for whole rows.

    Raises:
        ManifestInvalid: not exactly one of `density` and `bits`, or a number that cannot be.
    """
    table = derived.table.fresh()
    density, bits = table.number_or_none("density"), table.integer_or_none("bits")
    if (density is None) is (bits is None):
        said = "has neither `density` nor `bits`" if bits is None else "has both `density` and `bits`"
        raise table.missing(f"{table.where} {said}", "density", "bits", hint=_EXAMPLE)
    read = _read_bits(table, bits) if bits is not None else _read_density(table, density or 0.0)
    table.finish()
    return dataclasses.replace(read, place=derived.place)


def _read_density(table: Table, density: float) -> ExtractDelta:
    if not 0.0 < density <= 1.0:
        message = f"{table.named('density')} must be above 0 and at most 1"
        raise table.error(message, key="density", hint="it is the share of entries that are kept")
    return ExtractDelta(storage=Storage(), density=density, dtype=read_dtype(table, DType.BF16))


def _read_bits(table: Table, bits: int) -> ExtractDelta:
    if bits not in BITS:
        raise table.error(f"{table.named('bits')} must be 8, 4 or 1", key="bits", hint=_EXAMPLE)
    group = table.integer_or_none("group")
    group = _GROUPS[bits] if group is None else group
    if not 0 <= group <= LARGEST_GROUP:
        hint = "it is how many columns share a factor; 0: whole rows"
        raise table.error(f"{table.named('group')} must be from 0 to {LARGEST_GROUP}", key="group", hint=hint)
    return ExtractDelta(storage=Storage(bits=bits, group=group))


register("extract-delta", read_extract_delta)
