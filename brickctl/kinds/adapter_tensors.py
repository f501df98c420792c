"""The tensors of a LoRA adapter, sorted by the module that they belong to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brickctl.errors import Misfit, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.nodes import Stored

_PREFIX = "base_model.model."
_FACTOR = re.compile(
    r"(?P<module>.+)\.(?:(?P<linear>lora_[AB])\.weight|(?P<embedding>lora_embedding_[AB])"
    r"|(?P<magnitude>lora_magnitude_vector)(?:\.weight)?)"
)
_SLOTS = {
    "lora_A": "down", "lora_B": "up", "lora_embedding_A": "down", "lora_embedding_B": "up",
    "lora_magnitude_vector": "magnitude",
}  # fmt: skip
_FOREIGN = re.compile(r"\.(?:lora_|hada_|lokr_|ia3_|oft_|boft_|vera_|hra_|prompt_)")


@dataclass(slots=True)
class LoraModule:
    """The factors of one module: `down` (r, in) and `up` (out, r); for an embedding (r, V) and (d, r)."""

    down: Stored | None = None
    up: Stored | None = None
    magnitude: Stored | None = None
    is_embedding: bool | None = None


@dataclass(slots=True)
class AdapterTensors:
    """Modules with factors by module name, and whole tensors by the base's tensor name."""

    modules: dict[str, LoraModule] = field(default_factory=dict)
    saved: dict[str, Stored] = field(default_factory=dict)


def sort_tensors(name: str, tensors: Mapping[str, Stored]) -> AdapterTensors:
    """Sort every tensor of the adapter `name`; none is passed over.

    Raises:
        Misfit: a key without PEFT's prefix, or half a pair of factors.
        Unsupported: tensors of another method, or factors that are no matrices (convolutions).
    """
    found = AdapterTensors()
    for key, tensor in tensors.items():
        if not key.startswith(_PREFIX):
            hint = f"PEFT's keys begin with `{_PREFIX}`; save the adapter with PEFT's save_pretrained"
            raise Misfit(f"`{name}` has a key that PEFT would drop without a word: `{key}`", hint=hint)
        _sort(name, key.removeprefix(_PREFIX), tensor, found)
    for module, factors in found.modules.items():
        _check_pair(name, module, factors)
    return found


def _sort(name: str, key: str, tensor: Stored, found: AdapterTensors) -> None:
    match = _FACTOR.fullmatch(key)
    if match is None:
        if _FOREIGN.search(key):
            raise Unsupported(f"`{name}` has a tensor of a kind that brickctl does not merge yet: `{key}`")
        whole = key.replace(".modules_to_save.", ".").replace(".base_layer.", ".")
        if whole in found.saved:
            raise _twice(name, whole)
        found.saved[whole] = tensor
        return
    path = match["module"].removesuffix(".base_layer")
    module = found.modules.setdefault(path, LoraModule())
    factor = match["linear"] or match["embedding"] or match["magnitude"]
    slot = _SLOTS[factor]
    if getattr(module, slot) is not None:
        raise _twice(name, f"{path}.{factor}")
    setattr(module, slot, tensor)
    if slot == "magnitude":
        return
    if len(tensor.spec.shape) != 2:  # noqa: PLR2004 - a matrix
        shape = list(tensor.spec.shape)
        raise Unsupported(f"`{name}`: `{key}` has shape {shape}; only matrices can be merged yet, no convolutions")
    is_embedding = match["embedding"] is not None
    if module.is_embedding not in {None, is_embedding}:
        cause = f"`{path}` has factors of a linear layer and of an embedding"
        raise Misfit(f"`{name}` contradicts itself", causes=(cause,))
    module.is_embedding = is_embedding


def _twice(name: str, what: str) -> Misfit:
    """PEFT wraps modules in its own, under names that it takes out again when it saves."""
    return Misfit(f"`{name}` contradicts itself", causes=(f"two of its tensors are `{what}`",))


def _check_pair(name: str, module: str, factors: LoraModule) -> None:
    if factors.down is None or factors.up is None:
        missing = "lora_A" if factors.down is None else "lora_B"
        raise Misfit(f"`{name}` is incomplete", causes=(f"`{module}` has no {missing}",))
    if factors.down.spec.shape[0] != factors.up.spec.shape[1]:
        ranks = f"{factors.down.spec.shape[0]} and {factors.up.spec.shape[1]}"
        raise Misfit(f"`{name}` contradicts itself", causes=(f"the factors of `{module}` have ranks {ranks}",))
