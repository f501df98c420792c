"""Module: named tensors that are laid over a model, or added to it: a projector, a classification or a draft head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE
from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.kind import Change, Changes, register, tuned_model
from brickctl.tensors.arithmetic import subtract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Stored


class ModuleKind:
    """Tensors by name; the manifest says `kind = "module"`, as any weights might be one."""

    name = "module"
    is_asked_for = True

    def detect(self, contents: Contents) -> bool:
        """Weights that are no adapter's."""
        return "adapter_config.json" not in contents.documents

    def declared_base(self, contents: Contents) -> str | None:  # noqa: ARG002 - no file of a module names it
        """The base that the brick itself names."""
        return None

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """The tensors, by the first parts of their names, and the number of parameters."""
        parts = sorted({name.rpartition(".")[0] or name for name in contents.tensors})
        return {
            "tensors": len(contents.tensors),
            "parts": parts,
            "parameters": sum(tensor.spec.elements for tensor in contents.tensors.values()),
        }

    def check(self, brick: Brick, base: LazyModel) -> None:
        """It fits where it can be merged."""
        self.changes(brick, base)

    def changes(self, brick: Brick, base: LazyModel) -> Changes:
        """Laid over where the base has a tensor of that name and shape; added where it has none."""
        found = {name: laid_over(brick, name, tensor, base) for name, tensor in brick.contents.tensors.items()}
        if not found:
            raise Misfit(f"`{brick.name}` has no tensor at all", place=brick.required_by)
        return found

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """The base with these tensors laid over it."""
        return tuned_model(base, self.changes(brick, base))


def laid_over(brick: Brick, name: str, tensor: Stored, base: LazyModel) -> Change:
    """What a tensor of a brick does to the base that has one of its name, or not.

    Raises:
        Misfit: the base has it in another shape.
        Unsupported: one of the two is quantised.
    """
    if name not in base.tensors and name not in base.ties:
        return Change(None, tensor)
    below = base.node(name)
    if tensor.spec.shape != below.spec.shape:
        cause = f"`{name}` has shape {list(tensor.spec.shape)}; the base has {list(below.spec.shape)}"
        hint = "a module takes the place of tensors of the same shape: set [base] to the model that it was made for"
        raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), place=brick.required_by, hint=hint)
    if not tensor.spec.dtype.is_mergeable or not below.spec.dtype.is_mergeable:
        odd = tensor if not tensor.spec.dtype.is_mergeable else below
        cause = f"`{name}` of `{brick.name if odd is tensor else BASE}` is stored as {odd.spec.dtype.code}"
        hint = "use the bf16 or fp32 release of the model"
        raise Unsupported("quantised weights cannot be merged", causes=(cause,), place=brick.required_by, hint=hint)
    return Change(subtract(tensor, below), tensor)


register(ModuleKind())
