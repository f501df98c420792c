"""Which modules of a model are linear layers, asked of the classes that transformers builds of its configuration.

Names alone do not tell: an embedding, a router and a linear layer all have a matrix called `weight`, and PEFT puts a
LoRA on the last one only. No weights are needed: the model is built on torch's meta device.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from brickctl.analysis.silence import silence
from brickctl.core.document import shown
from brickctl.core.numbers import layer_of
from brickctl.errors import Misfit, Unsupported
from brickctl.operations.layer_config import COUNTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.model import LazyModel
    from brickctl.errors import Place

_HINT = "upgrade transformers, or extract a delta, which needs no model class"


class Module(Enum):
    """What PEFT can do with a module."""

    LINEAR = "linear"  # its weight is (out, in)
    TRANSPOSED = "transposed"  # transformers' Conv1D: (in, out)
    OTHER = "other"  # it can be saved whole


def modules_of(model: LazyModel, place: Place | None) -> Mapping[str, Module]:
    """Every module of the running model by its path.

    Raises:
        Misfit: the configuration counts more layers than there are.
        Unsupported: transformers cannot build the model.
    """
    _check_layers(model, place)
    import torch
    from transformers.pytorch_utils import Conv1D

    classes: Mapping[type[Any], Module] = {torch.nn.Linear: Module.LINEAR, Conv1D: Module.TRANSPOSED}
    running = _running(model, place)
    return {
        path: next((found for one, found in classes.items() if isinstance(module, one)), Module.OTHER)
        for path, module in running.named_modules()
    }


def is_causal(model: LazyModel) -> bool:
    """Whether it is a model that continues text: what PEFT calls CAUSAL_LM."""
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in _architectures(model))


def _check_layers(model: LazyModel, place: Place | None) -> None:
    """Make sure that no layers are counted that the files do not have: transformers would build them, be it a million.

    Files may have more: layers that only predict further tokens are not counted.
    """
    numbers = (layer_of(name) for name in model.tensors)
    there = max((number + 1 for number in numbers if number is not None), default=None)
    for key, count in _counts(model.config):
        if there is not None and count > there:
            cause = f"`{key}` in config.json is {count}, and the files have {there}"
            hint = "take config.json and the weights from the same place"
            raise Misfit("the base has fewer layers than it says", causes=(cause,), place=place, hint=hint)


def _counts(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every number of layers in a configuration, and in those within it, as of a text or a vision model."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _counts(value)
        elif key in COUNTS and isinstance(value, int):
            yield key, value


def _running(model: LazyModel, place: Place | None) -> Any:
    """The model without weights, of the class that its configuration names."""
    import torch
    import transformers

    names = _architectures(model)
    automatic: Any = transformers.AutoModelForCausalLM
    found: Any = getattr(transformers, names[0], None) if names else automatic
    try:
        with silence(), torch.device("meta"):
            config: Any = transformers.AutoConfig.for_model(**model.config)
            if found is automatic:
                return found.from_config(config)
            if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
                return found(config)
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        cause = shown((str(error).strip() or type(error).__name__).splitlines()[0], longest=200)
        raise _unknown(names, cause, place) from error
    raise _unknown(names, f"transformers {transformers.__version__} has no such class", place)


def _unknown(names: tuple[str, ...], cause: str, place: Place | None) -> Unsupported:
    message = f"the modules of a {shown(names[0]) if names else 'model without a class'} are not known here"
    return Unsupported(message, causes=(cause,), place=place, hint=_HINT)


def _architectures(model: LazyModel) -> tuple[str, ...]:
    names = model.config.get("architectures")
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
