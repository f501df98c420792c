"""Delta: a task vector, tuned minus base, made smaller: its largest entries alone, or all of them in few bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import Table, shown
from brickctl.core.dtypes import DType
from brickctl.core.names import BASE
from brickctl.errors import Misfit, Unsupported, asked_for
from brickctl.kinds.base import interface
from brickctl.kinds.kind import Change, Changes, is_described_by, register, tuned_model
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.placed import MOST_ELEMENTS, placed
from brickctl.tensors.quantised import BITS, dequantised, specs_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node, Stored
    from brickctl.core.regions import Spec

FILE = "delta_config.json"
FORMAT = "brickctl-delta-1"
PLACES, VALUES = ".places", ".values"
CODES, FACTORS = ".codes", ".factors"
WHOLE = ".whole"
LARGEST_GROUP = 1 << 20
"""Columns that may share a factor."""

_DAMAGED = "the file is damaged, or was written by something else; extract it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How the matrices of a delta are stored: `bits` for each element in groups of columns, or, if None, sparse.

    `group` 0 is a whole row.
    """

    bits: int | None = None
    group: int = 0

    def document(self, base: LazyModel) -> Mapping[str, Any]:
        """`delta_config.json` of a delta that is stored so."""
        quantised = {} if self.bits is None else {"bits": self.bits, "group": self.group}
        return {"format": FORMAT, "interface": interface(base), **quantised}


class DeltaKind:
    """A difference for each tensor of the base that it changes."""

    name = "delta"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """`delta_config.json` is there, and no model's and no adapter's configuration."""
        return is_described_by(FILE, contents)

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - it names its base by a digest
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """How it is stored, how many tensors it changes, and the bytes that it takes."""
        document = contents.documents[FILE]
        bits = document.get("bits")
        return {
            "storage": "sparse" if bits is None else f"{shown(bits)} bits",
            "tensors": len(dict.fromkeys(name.rpartition(".")[0] for name in contents.tensors)),
            "bytes": sum(tensor.spec.bytes for tensor in contents.tensors.values()),
        }

    def check(self, brick: Brick, base: LazyModel) -> None:
        """It fits where it can be merged."""
        self.changes(brick, base)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:
        """The difference of every tensor that it has; a head that the base ties changes as the embedding does."""
        with asked_for(brick.required_by):
            storage = _read_config(brick, base)
            found = {name: Change(_delta(brick, name, parts, storage, base)) for name, parts in _parts(brick).items()}
        if not found:
            raise Misfit(f"`{brick.name}` has no tensor at all", place=brick.required_by)
        shared = {head: found[name] for head, name in base.ties.items() if name in found}
        return {**shared, **found}

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """The base with the delta added."""
        return tuned_model(base, self.changes(brick, base))


def _read_config(brick: Brick, base: LazyModel) -> Storage:
    """What the configuration says, for this base.

    Raises:
        Misfit: it says something that this brickctl does not know, or is for another base.
    """
    table = Table(brick.contents.documents[FILE], file=f"{FILE} of `{brick.name}`", fault=Misfit)
    if table.string("format") != FORMAT:
        found = shown(table.take("format"))
        raise table.error(f"{table.file} has the format `{found}`; this brickctl reads `{FORMAT}`", hint=_DAMAGED)
    bits = table.integer_or_none("bits")
    storage = Storage(bits=bits, group=(table.integer_or_none("group") or 0) if bits is not None else 0)
    if bits is not None and bits not in BITS:
        raise table.error(f"{table.named('bits')} is {bits}; this brickctl reads 8, 4 and 1", hint=_DAMAGED)
    if not 0 <= storage.group <= LARGEST_GROUP:
        raise table.error(f"{table.named('group')} is {storage.group}, which no group can have", hint=_DAMAGED)
    if table.string("interface") != interface(base):
        cause = "it was extracted for a base whose tensors have other names or shapes"
        hint = "set [base] to the model that it was extracted from"
        raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), hint=hint)
    table.finish()
    return storage


def _parts(brick: Brick) -> Mapping[str, Mapping[str, Stored]]:
    """What it has of each tensor of the base that it changes, by the ends of names; looked at later."""
    found: dict[str, dict[str, Stored]] = {}
    for full, tensor in brick.contents.tensors.items():
        name, dot, end = full.rpartition(".")
        found.setdefault(name, {})[dot + end] = tensor
    return found


def _delta(brick: Brick, name: str, parts: Mapping[str, Stored], storage: Storage, base: LazyModel) -> Node:
    """The difference of one tensor, in fp64."""
    if name not in base.tensors and name not in base.ties:
        raise _unreadable(brick, f"it has something of `{shown(name)}`, which the base does not have")
    spec = base.node(name).spec
    if not spec.dtype.is_mergeable:
        cause = f"`{name}` of `{BASE}` is stored as {spec.dtype.code}"
        hint = "use the bf16 or fp32 release of the model"
        raise Unsupported("quantised weights cannot be merged", causes=(cause,), hint=hint)
    match parts:
        case {".whole": whole, **others} if not others and _is_whole(whole, spec):
            return cast(whole, DType.F64)
        case {".places": places, ".values": values, **others} if not others and storage.bits is None:
            if _are_sparse(places.spec, values.spec, spec.elements):
                return placed(places, values, spec.shape, name)
        case {".codes": codes, ".factors": factors, **others} if not others and storage.bits is not None:
            if spec.elements and (codes.spec, factors.spec) == specs_of(spec.shape, storage.bits, storage.group):
                return dequantised(codes, factors, spec.shape, storage.bits, storage.group)
    have = ", ".join(f"{shown(part)} {one.spec.dtype.code} {list(one.spec.shape)}" for part, one in parts.items())
    message = f"what it has of `{name}`, {list(spec.shape)} in the base, makes no delta: {have}"
    raise _unreadable(brick, message)


def _is_whole(stored: Stored, spec: Spec) -> bool:
    """Whether a tensor can be the difference of one that is stored whole."""
    return stored.spec.dtype.is_mergeable and stored.spec.shape == spec.shape


def _are_sparse(places: Spec, values: Spec, elements: int) -> bool:
    """Whether these can be the places and values of a tensor of so many elements."""
    fit = places.dtype is DType.I32 and values.dtype.is_mergeable and places.shape == values.shape
    return fit and len(places.shape) == 1 and 0 < places.elements <= elements <= MOST_ELEMENTS


def _unreadable(brick: Brick, cause: str) -> Misfit:
    return Misfit(f"`{brick.name}` is no delta that brickctl reads", causes=(cause,), hint=_DAMAGED)


register(DeltaKind())
