"""The tensors of an adapter, sorted by the module that they belong to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brickctl.errors import Misfit, Unsupported
from brickctl.kinds.adapters.config import FILE, base_hint, declared_base
from brickctl.kinds.adapters.fused_experts import INNER
from brickctl.kinds.adapters.module import SAVE_AGAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Stored
    from brickctl.kinds.adapters.adapter_type import AdapterType

_PREFIX = "base_model.model."
_SHARED_PREFIX = "base_model."
_WRAPPERS = (".modules_to_save.", ".base_layer.", ".token_adapter.")
_FOREIGN = re.compile(
    r"\.(?:lora|hada|lokr|ia3|oft|boft|vera|pvera|hra|hira|miss|delora|randlora|road|c3a|fourierft|waveft|vblora|glora"
    r"|gralora|shira|supertuning|deft|peanut|poly_lora|beft|osf_svd_params|tinylora|psoft|frod|lily|adamss|unilora|shadow"
    r"|trainable_tokens|prompt|adaption)_"
)
"""How tensors begin that belong to some type of PEFT."""


@dataclass(slots=True)
class AdapterTensors:
    """Tensors by module and parameter, those that all modules share, and whole ones by the base's tensor name."""

    modules: dict[str, dict[str, Stored]] = field(default_factory=dict)
    shared: dict[str, Stored] = field(default_factory=dict)
    saved: dict[str, Stored] = field(default_factory=dict)


def sort_tensors(name: str, adapter_type: AdapterType, tensors: Mapping[str, Stored]) -> AdapterTensors:
    """Sort every tensor of the adapter `name`; none is passed over.

    Raises:
        Misfit: a key without PEFT's prefix, or two tensors that mean the same.
        Unsupported: tensors of another type.
    """
    found = AdapterTensors()
    for key, tensor in tensors.items():
        if key.startswith(_PREFIX):
            _sort(name, adapter_type, key.removeprefix(_PREFIX), tensor, found)
        elif key.removeprefix(_SHARED_PREFIX) in adapter_type.shared:
            found.shared[key.removeprefix(_SHARED_PREFIX)] = tensor
        else:
            raise _dropped(name, key)
    return found


def _sort(name: str, adapter_type: AdapterType, key: str, tensor: Stored, found: AdapterTensors) -> None:
    parameter = max((one for one in adapter_type.parameters if key.endswith(f".{one}")), key=len, default=None)
    if parameter is None:
        if _FOREIGN.search(key):
            message = f"`{name}` has a tensor of another type than its configuration says"
            cause = f"`{key}` is none of the tensors of a {adapter_type.title} adapter"
            raise Unsupported(message, causes=(cause,), hint=SAVE_AGAIN)
        whole = key
        for wrapper in _WRAPPERS:
            whole = whole.replace(wrapper, ".")
        if whole in found.saved:
            raise _twice(name, whole)
        found.saved[whole] = tensor
        return
    path = key.removesuffix(f".{parameter}")
    module = found.modules.setdefault(path.replace(".base_layer", ""), {})
    inner = INNER * path.count(".base_layer") + parameter
    if inner in module:
        raise _twice(name, key)
    module[inner] = tensor


def _twice(name: str, what: str) -> Misfit:
    """PEFT wraps modules in its own, under names that it takes out again when it saves."""
    return Misfit(f"`{name}` contradicts itself", causes=(f"two of its tensors are `{what}`",), hint=SAVE_AGAIN)


def check_modules(brick: Brick, base: LazyModel) -> None:
    """Make sure that an adapter that is only carried along touches modules that the base has.

    Raises:
        Misfit: a key without PEFT's prefix, or a module that is not there; PEFT would pass over both without a word.
    """
    names = (*base.tensors, *base.ties)
    for key in brick.contents.tensors:
        if not key.startswith(_SHARED_PREFIX):
            raise _dropped(brick.name, key)
        found = _FOREIGN.search(key)
        if found is None or not key.startswith(_PREFIX):
            continue
        module = key[: found.start()].removeprefix(_PREFIX)
        if not any(name.startswith(f"{module}.") for name in names):
            cause = f"it changes `{module}`, which the base does not have"
            hint = base_hint(brick.name, declared_base(brick.contents.documents[FILE]))
            raise Misfit(f"`{brick.name}` does not fit the base", causes=(cause,), place=brick.required_by, hint=hint)


def _dropped(name: str, key: str) -> Misfit:
    hint = f"PEFT's keys begin with `{_PREFIX}`; save the adapter with PEFT's save_pretrained"
    return Misfit(f"`{name}` has a key that PEFT would drop without a word: `{key}`", hint=hint)
