"""Prompt: a soft prompt or prefix, a task or knowledge brick that stays outside the weights. It can only be stacked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.errors import Misfit
from brickctl.kinds.adapters.adapter_type import unmergeable_types
from brickctl.kinds.adapters.config import FILE, base_hint, declared_base, not_mergeable, peft_type
from brickctl.kinds.adapters.module import SAVE_AGAIN
from brickctl.kinds.kind import Changes, register, tuned_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, Contents
    from brickctl.core.model import LazyModel

PROMPT_TYPES = ("CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING")
_OF_EMBEDDINGS = ("CPT", "MULTITASK_PROMPT_TUNING", "PROMPT_TUNING", "P_TUNING")
_EMBEDDINGS = "prompt_embeddings"


class PromptKind:
    """Virtual tokens before the input, or keys and values in every layer."""

    name = "prompt"
    is_asked_for = False

    def detect(self, contents: Contents) -> bool:
        """PEFT's configuration is there, and is a prompt's."""
        return FILE in contents.documents and peft_type(contents.documents[FILE]) in PROMPT_TYPES

    def declared_base(self, contents: Contents) -> str | None:
        """The base that the prompt was trained on, as it says."""
        return declared_base(contents.documents[FILE])

    def facts(self, contents: Contents) -> Mapping[str, Any]:
        """Type and number of virtual tokens."""
        document = contents.documents[FILE]
        name = peft_type(document)
        tokens = document.get("num_virtual_tokens")
        return {"type": name, "virtual-tokens": tokens, **unmergeable_types()[name].facts()}

    def changes(self, brick: Brick, base: LazyModel) -> Changes:  # noqa: ARG002 - it changes none
        """Unsupported: a prompt cannot be merged."""
        raise not_mergeable(brick.name, unmergeable_types()[peft_type(brick.contents.documents[FILE])])

    def model(self, brick: Brick, base: LazyModel) -> LazyModel:
        """Unsupported: a prompt stays outside of the weights."""
        return tuned_model(base, self.changes(brick, base))

    def check(self, brick: Brick, base: LazyModel) -> None:
        """Its embeddings must be there, and as wide as those of the base."""
        _check(brick, base)


def _check(brick: Brick, base: LazyModel) -> None:
    document = brick.contents.documents[FILE]
    embeddings = brick.contents.tensors.get(_EMBEDDINGS)
    if embeddings is None or len(embeddings.spec.shape) != 2:  # noqa: PLR2004 - a matrix (tokens, width)
        cause = f"it has no matrix `{_EMBEDDINGS}`"
        message = f"`{brick.name}` is no prompt that PEFT loads"
        raise Misfit(message, causes=(cause,), place=brick.required_by, hint=SAVE_AGAIN)
    tokens, width = embeddings.spec.shape
    if document.get("num_virtual_tokens") not in (None, tokens):
        cause = f"it has {tokens} virtual tokens; its configuration says {document.get('num_virtual_tokens')!a}"
        message = f"`{brick.name}` contradicts itself"
        raise Misfit(message, causes=(cause,), place=brick.required_by, hint=SAVE_AGAIN)
    hidden = base.config.get("hidden_size")
    if peft_type(document) in _OF_EMBEDDINGS and isinstance(hidden, int) and hidden != width:
        cause = f"its embeddings are {width} wide; those of the base {hidden}"
        message, hint = f"`{brick.name}` does not fit the base", base_hint(brick.name, declared_base(document))
        raise Misfit(message, causes=(cause,), place=brick.required_by, hint=hint)


register(PromptKind())
