"""Neuron group: some neurons of every FFN of a model, with their weights: what goes into them and what comes out.

Each FFN has the places of its neurons, `PATH.neurons` (n,) int32, ascending, the rows of its gate and up, and the
columns of its down, under the names that the matrices have in the base.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.document import Table, shown
from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.errors import Misfit, Unsupported, asked_for
from brickctl.kinds.base import interface
from brickctl.kinds.kind import Change, Changes, is_described_by, register, tuned_model
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.tensors.arithmetic import subtract
from brickctl.tensors.overlay import lay_columns, lay_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node, Stored

FILE = "neuron_group_config.json"
FORMAT = "brickctl-neuron-group-1"
PLACES = ".neurons"

_DOWN = ".down_proj.weight"
_IN = (".gate_proj.weight", ".up_proj.weight", ".gate_proj.bias", ".up_proj.bias")
_DAMAGED = "the file is damaged, or was written by something else; extract it again"


class NeuronGroupKind:
    """Rows and columns of matrices, which take the place of those of the same neurons of the base."""

    name = "neuron-group"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """`neuron_group_config.json` is there, and no model's and no adapter's configuration."""
        return is_described_by(FILE, contents)

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - it names its base by a digest
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """Which group it is, how many neurons it has in how many FFNs, and parameters."""
        counts = [tensor.spec.elements for name, tensor in contents.tensors.items() if name.endswith(PLACES)]
        return {
            "group": shown(contents.documents[FILE].get("group")),
            "ffns": len(counts),
            "neurons": sum(counts),
            "parameters": sum(one.spec.elements for one in contents.tensors.values() if one.spec.dtype.is_mergeable),
        }

    def check(self, brick: Brick, base: LazyModel) -> None:
        """It fits where it can be merged."""
        self.changes(brick, base)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:
        """Laid over the same neurons of the base, in every FFN."""
        with asked_for(brick.required_by):
            _check_config(brick, base)
            modules = ffns(base)
            _refuse_strangers(brick, modules, base)
            return dict(change for ffn in modules for change in _changes_of(brick, ffn, base))

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """The base with these neurons instead of its own."""
        return tuned_model(base, self.changes(brick, base))


def config(base: LazyModel, group: int) -> Mapping[str, Any]:
    """`neuron_group_config.json` of a group of this number."""
    return {"format": FORMAT, "group": group, "interface": interface(base)}


def tensors_of(ffn: Ffn, model: LazyModel) -> tuple[str, ...]:
    """The tensors of an FFN of which each neuron has a part: rows of the first ones, columns of the last."""
    names = (ffn.path + part for part in (*_IN, _DOWN))
    return tuple(name for name in names if name in model.tensors)


def is_outward(name: str) -> bool:
    """Whether a neuron has a column of the tensor, and not a row or an entry."""
    return name.endswith(_DOWN)


def _check_config(brick: Brick, base: LazyModel) -> None:
    table = Table(brick.contents.documents[FILE], file=f"{FILE} of `{brick.name}`", fault=Misfit)
    if table.string("format") != FORMAT:
        found = shown(table.take("format"))
        raise table.error(f"{table.file} has the format `{found}`; this brickctl reads `{FORMAT}`", hint=_DAMAGED)
    table.integer("group")
    if table.string("interface") != interface(base):
        cause = "it was extracted from a model whose tensors have other names or shapes"
        hint = "set [base] to the model that it was extracted for"
        raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), hint=hint)
    table.finish()


def _refuse_strangers(brick: Brick, modules: tuple[Ffn, ...], base: LazyModel) -> None:
    known = {name for ffn in modules for name in (ffn.path + PLACES, *tensors_of(ffn, base))}
    strange = next((name for name in brick.contents.tensors if name not in known), None)
    if strange is not None or not modules:
        cause = (
            "the base has no FFN that could be told by its names" if strange is None else f"it has `{shown(strange)}`"
        )
        raise _unreadable(brick, cause)


def _changes_of(brick: Brick, ffn: Ffn, base: LazyModel) -> Iterator[tuple[str, Change]]:
    """The changes of one FFN; each of its tensors must be there."""
    places = _tensor(brick, ffn.path + PLACES)
    count = places.spec.elements
    if places.spec != Spec(DType.I32, (count,)) or not 0 < count <= ffn.neurons:
        raise _unreadable(brick, f"`{ffn.path}{PLACES}` is {places.spec.dtype.code} {list(places.spec.shape)}")
    for name in tensors_of(ffn, base):
        below, part = base.node(name), _tensor(brick, name)
        shape = (*below.spec.shape[:-1], count) if is_outward(name) else (count, *below.spec.shape[1:])
        if part.spec.shape != shape:
            cause = f"`{name}` has shape {list(part.spec.shape)}; {count} neurons of the base have {list(shape)}"
            raise _unreadable(brick, cause)
        if not (part.spec.dtype.is_mergeable and below.spec.dtype.is_mergeable):
            hint = "use the bf16 or fp32 release of the model"
            raise Unsupported("quantised weights cannot be merged", causes=(f"`{name}` is no plain number",), hint=hint)
        tuned = _laid_over(name, below, places, part)
        yield name, Change(subtract(tuned, below), tuned)


def _laid_over(name: str, below: Node, places: Stored, part: Stored) -> Node:
    is_row = len(below.spec.shape) > 1 and not is_outward(name)
    return (lay_rows if is_row else lay_columns)(below, places, part, name)


def _tensor(brick: Brick, name: str) -> Stored:
    found = brick.contents.tensors.get(name)
    if found is None:
        raise _unreadable(brick, f"it has no `{name}`")
    return found


def _unreadable(brick: Brick, cause: str) -> Misfit:
    message = f"`{brick.name}` is no group of neurons that brickctl reads"
    return Misfit(message, causes=(cause,), hint=_DAMAGED)


register(NeuronGroupKind())
