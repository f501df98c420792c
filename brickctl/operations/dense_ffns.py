"""FFNs as steps need them that give them other neurons: of a dense model, plain numbers, one width, no part unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.errors import Unsupported
from brickctl.kinds.neurons import ffns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.core.model import LazyModel
    from brickctl.errors import Place
    from brickctl.kinds.neurons import Ffn

PARTS = ("gate_proj.weight", "up_proj.weight", "down_proj.weight")
"""The matrices of an FFN."""

INNER_BIASES = ("gate_proj.bias", "up_proj.bias")
"""Vectors with a number for every neuron."""

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_WIDTH = "intermediate_size"


def refuse_mixture(config: Mapping[str, Any], op: str, place: Place | None, *, subject: str = "the model") -> None:
    """Refuse a mixture of experts, which messages call `subject`.

    Raises:
        Unsupported: config.json counts experts.
    """
    nested = config.get("text_config")
    for section in (config, nested if isinstance(nested, dict) else {}):
        key = next((key for key in _EXPERTS if section.get(key)), None)
        if key is not None:
            cause = f"`{key}` in config.json says that its FFNs are experts"
            message = f"{subject} is a mixture of experts already"
            raise Unsupported(message, causes=(cause,), place=place, hint=f"{op} a dense model")


def refuse_quantised(model: LazyModel, place: Place | None, *, subject: str = "the model") -> None:
    """Refuse FFNs in numbers that are codes, of a model that messages call `subject`.

    Raises:
        Unsupported: names the first.
    """
    for ffn in ffns(model):
        for part in PARTS:
            dtype = model.tensors[f"{ffn.path}.{part}"].spec.dtype
            if not dtype.is_mergeable:
                cause = f"`{ffn.path}.{part}` is stored as {dtype.code}"
                hint = "use the bf16 or fp32 release of the model"
                message = f"{subject} has quantised neurons, which cannot be regrouped"
                raise Unsupported(message, causes=(cause,), place=place, hint=hint)


def refuse_other_parts(model: LazyModel, modules: Sequence[Ffn], message: str, place: Place | None) -> None:
    """Refuse FFNs with further tensors, which may have a number for every neuron.

    Raises:
        Unsupported: with this message and the first of them.
    """
    known = (*PARTS, *INNER_BIASES, "down_proj.bias")
    for ffn in modules:
        inside = (name for name in model.tensors if name.startswith(f"{ffn.path}."))
        strange = next((name for name in inside if name.removeprefix(f"{ffn.path}.") not in known), None)
        if strange is not None:
            cause = f"`{strange}` is no part of an FFN that it knows"
            raise Unsupported(message, causes=(cause,), place=place)


def width_of(modules: Sequence[Ffn], place: Place | None) -> int:
    """How many neurons every FFN has.

    Raises:
        Unsupported: not all have as many, which nothing that a step writes could say.
    """
    odd = next((ffn for ffn in modules if ffn.neurons != modules[0].neurons), None)
    if odd is not None:
        cause = f"`{modules[0].path}` has {modules[0].neurons} neurons, `{odd.path}` {odd.neurons}"
        raise Unsupported("FFNs of different width cannot be regrouped", causes=(cause,), place=place)
    return modules[0].neurons


def with_width(config: Mapping[str, Any], before: int, after: int, place: Place | None) -> Mapping[str, Any]:
    """The configuration with another width of FFNs, wherever it has the old one.

    Raises:
        Unsupported: it has it nowhere.
    """
    nested = config.get("text_config")
    if config.get(_WIDTH) == before:
        return {**config, _WIDTH: after}
    if isinstance(nested, dict) and nested.get(_WIDTH) == before:
        return {**config, "text_config": {**nested, _WIDTH: after}}
    cause = f"it has no `{_WIDTH} = {before}`"
    raise Unsupported("config.json cannot say how wide the FFNs become", causes=(cause,), place=place)
