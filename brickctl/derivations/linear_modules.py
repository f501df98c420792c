"""Which modules of a model are linear layers, asked of the classes that transformers builds of its configuration.

Names alone do not tell: an embedding, a router and a linear layer all have a matrix called `weight`, and PEFT puts a
LoRA on the last one only. No weights are needed: the model is built on torch's meta device.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from brickctl.analysis.silence import silence
from brickctl.core.document import shown
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.model import LazyModel
    from brickctl.errors import Place

_HINT = "upgrade transformers, or use `extract-delta`, which needs no model class"


class Module(Enum):
    """What PEFT can do with a module."""

    LINEAR = "linear"  # its weight is (out, in)
    TRANSPOSED = "transposed"  # transformers' Conv1D: (in, out)
    OTHER = "other"  # it can be saved whole


def modules_of(model: LazyModel, place: Place | None) -> Mapping[str, Module]:
    """Every module of the running model by its path.

    Raises:
        Unsupported: transformers cannot build the model.
    """
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
