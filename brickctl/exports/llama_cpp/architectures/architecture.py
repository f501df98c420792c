"""What llama.cpp calls a family of models, and how it wants their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.plugins import Plugins
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ACTIVATION = "silu"
"""The only activation that the FFNs of these architectures have in llama.cpp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One family.

    Attributes:
        name: what `general.architecture` says.
        interleaved: whether llama.cpp turns neighbouring rows of queries and keys together, where transformers turns
            each row of the first half of a head with one of the second.
        tells_rows: whether it wants the size of the vocabulary and of a head's rotation told.
    """

    name: str
    interleaved: bool = False
    tells_rows: bool = False


_ARCHITECTURES: Plugins[Architecture] = Plugins("brickctl.exports.llama_cpp.architectures")


def register(model_class: str, architecture: Architecture) -> None:
    """Make known what an entry of `architectures` in `config.json` is to llama.cpp; called by its module."""
    _ARCHITECTURES.declare(model_class, architecture)


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The architecture of a model.

    Raises:
        Unsupported: brickctl has not tried it in llama.cpp, or the model has something that llama.cpp would pass over.
    """
    classes = config.get("architectures")
    name = classes[0] if isinstance(classes, list) and classes and isinstance(classes[0], str) else "no class"
    known = _ARCHITECTURES.all()
    if name not in known:
        cause = f"`config.json` names {shown(name)}; tried in llama.cpp are {', '.join(known)}"
        hint = "give llama.cpp's own converter with --converter; it knows more architectures"
        raise Unsupported("this architecture is not exported to GGUF", causes=(cause,), hint=hint)
    if config.get("hidden_act", ACTIVATION) != ACTIVATION:
        cause = f"its FFNs have the activation {shown(config['hidden_act'])}; those of llama.cpp have {ACTIVATION}"
        raise Unsupported(f"this {name} cannot be said in GGUF", causes=(cause,))
    return known[name]
