"""Mask: one bit for each weight, and a factor, that make the model of one task of EMR's unified model of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256, json_digest
from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.nodes import key
from brickctl.core.regions import Spec
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.base import UNIFIED
from brickctl.kinds.kind import Changes, is_described_by, register, tuned_model
from brickctl.tensors.bits import fits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Stored

FILE = "mask_config.json"
FORMAT = "brickctl-mask-1"
FACTOR = "factor"
_BITS = ".mask"


class MaskKind:
    """Packed bits of tensors by their names, a factor, and which unified model they belong to."""

    name = "mask"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """`mask_config.json` is there, and no model's and no adapter's configuration."""
        return is_described_by(FILE, contents)

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - it names its base by a digest
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """The number of tensors that have a mask, and which unified model it belongs to."""
        masked = [name for name in contents.tensors if name.endswith(_BITS)]
        return {"tensors": len(masked), "unified": shown(str(contents.documents[FILE].get("unified")))}

    def check(self, brick: Brick, base: LazyModel) -> None:
        """Its format must be known, its base this one, and its bits as many as the base has weights."""
        _check_document(brick, base)
        factor = brick.contents.tensors.get(FACTOR)
        if factor is None or factor.spec != Spec(DType.F64, (1,)):
            raise _misfit(brick, f"it has no `{FACTOR}` of one F64")
        for name, stored in brick.contents.tensors.items():
            _check_bits(brick, name, stored, base)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:  # noqa: ARG002 - it changes none by itself
        """Unsupported: a mask has a meaning beside its unified model only."""
        cause = "it says which weights of a unified model belong to its task, and has none itself"
        hint = f'write {{ op = "mask", brick = "{brick.name}", unified = NAME }}'
        message = f"`{brick.name}` is a mask, which cannot be merged"
        raise Unsupported(message, causes=(cause,), place=brick.required_by, hint=hint)

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """Unsupported: a mask is no model."""
        return tuned_model(base, self.changes(brick, base))


def config(unified: LazyModel, base: LazyModel) -> Mapping[str, str]:
    """`mask_config.json` of the masks of a unified model."""
    return {"base": identity(base), "format": FORMAT, "unified": identity(unified)}


def identity(model: LazyModel) -> Sha256:
    """What decides every weight of a model: two that differ in one have different ones."""
    return json_digest({name: key(node) for name, node in model.tensors.items()})


def check_belongs(mask: Brick, unified: Brick) -> None:
    """Make sure that a mask was made with this unified model.

    Raises:
        Misfit: it was made with another, or the model is none of that sort.
    """
    document = unified.contents.documents.get(UNIFIED)
    if document is None or unified.kind != "expert":
        cause = f"it is of kind {unified.kind}" if unified.kind != "expert" else f"it has no {UNIFIED}"
        hint = "build it by a merge with masks = true; its masks lie below its folder"
        raise Misfit(f"`{unified.name}` is no unified model", causes=(cause,), place=unified.required_by, hint=hint)
    merge = document.get("unified")
    if not isinstance(merge, str) or merge != mask.contents.documents[FILE].get("unified"):
        cause = f"{FILE} and the {UNIFIED} of `{unified.name}` name different merges"
        hint = "take the model and the mask from one build: the mask lies below masks/ in the folder of the model"
        raise Misfit(
            f"`{mask.name}` is no mask of `{unified.name}`", causes=(cause,), place=mask.required_by, hint=hint
        )


def bits(brick: Brick, name: str) -> Stored | None:
    """The packed bits for a tensor; None where no weight of it belongs to the task."""
    return brick.contents.tensors.get(name + _BITS)


def bits_name(name: str) -> str:
    """Under which name a file has the bits of a tensor."""
    return name + _BITS


def _check_document(brick: Brick, base: LazyModel) -> None:
    document = brick.contents.documents[FILE]
    if document.get("format") != FORMAT:
        found = shown(str(document.get("format")))
        raise _misfit(brick, f"{FILE} has the format `{found}`; this brickctl reads `{FORMAT}`")
    if document.get("base") != identity(base):
        cause = f"the base that {FILE} names by its digest has other weights, or has them in other files"
        hint = "set [base] to the model that the merge had, from the files that it had"
        raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), place=brick.required_by, hint=hint)


def _check_bits(brick: Brick, name: str, stored: Stored, base: LazyModel) -> None:
    if name == FACTOR:
        return
    masked = name.removesuffix(_BITS)
    if masked == name or (masked not in base.tensors and masked not in base.ties):
        raise _misfit(brick, f"`{shown(name)}` is a mask of no tensor of the base")
    shape = base.node(masked).spec.shape
    if not fits(stored.spec, shape):
        cause = (
            f"`{shown(name)}` is {stored.spec.dtype.code} {list(stored.spec.shape)}; the base has {list(shape)} there"
        )
        raise _misfit(brick, cause)


def _misfit(brick: Brick, cause: str) -> Misfit:
    hint = "the file is damaged, or was written by something else; build the masks again"
    return Misfit(f"`{brick.name}` is no mask that brickctl reads", causes=(cause,), place=brick.required_by, hint=hint)


register(MaskKind())
