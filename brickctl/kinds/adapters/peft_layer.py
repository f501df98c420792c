"""PEFT's own layer around one module: the kernel behind `through_peft.py`. Nothing here is imported before a build."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from brickctl.errors import Misfit
from brickctl.kinds.adapters.module import SAVE_AGAIN
from brickctl.tensors.kernels import bundle_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor
    from torch.nn import Module as Layer

_PREFIX = "base_model.model."
_SHARED_PREFIX = "base_model."
_TRY_PEFT = "see whether PEFT itself loads the adapter on this base; if it does, please report this"


@bundle_kernel("peft-layer", scratch=48)
def run_peft_layer(inputs: Sequence[Tensor], outs: Sequence[Tensor], arguments: Mapping[str, Any]) -> None:
    """Write merged minus base of the weight and, where there is one, of the bias.

    Raises:
        Misfit: PEFT cannot make its layer, or has other tensors than the adapter.
    """
    import torch

    parts = [tensor.float() for tensor in inputs[: len(outs)]]
    shapes = [(name, tuple(shape)) for name, shape in arguments["tensors"]]
    tensors = {name: tensor.reshape(shape) for (name, shape), tensor in zip(shapes, inputs[len(outs) :], strict=True)}
    # what PEFT draws before it loads the adapter belongs to nobody, and must not move the caller's generator
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.no_grad():
        warnings.simplefilter("ignore")
        merged = _merge(_layer(parts, transposed=arguments["transposed"]), tensors, arguments)
    after = [merged.weight, merged.bias][: len(parts)]
    for out, before, tensor in zip(outs, parts, after, strict=True):
        out.copy_(tensor.detach().double().reshape(out.shape)).sub_(before.double().reshape(out.shape))


def _layer(parts: Sequence[Tensor], *, transposed: bool) -> Layer:
    """A copy of the base's module."""
    import torch
    from transformers.pytorch_utils import Conv1D

    weight = parts[0]
    layer: Any
    if transposed:
        layer = Conv1D(weight.shape[1], weight.shape[0])  # type: ignore[no-untyped-call]
    else:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=len(parts) > 1)
    layer.weight = torch.nn.Parameter(weight.clone())
    if len(parts) > 1:
        layer.bias = torch.nn.Parameter(parts[1].reshape(-1).clone())
    found: Layer = layer
    return found


def _merge(layer: Layer, tensors: Mapping[str, Tensor], arguments: Mapping[str, Any]) -> Any:
    """Let PEFT wrap the layer, load the tensors and merge them."""
    from peft import PeftType, get_peft_model, set_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.utils import get_peft_model_state_dict

    name = arguments["module"]
    config_class: Any = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(arguments["type"])]
    config = config_class(**arguments["settings"], target_modules=[name])
    try:
        model = get_peft_model(_alone(layer, name), config)
        given = dict(_named(name, tensors, get_peft_model_state_dict(model)))
        set_peft_model_state_dict(model, given)
    except (ValueError, TypeError, KeyError, RuntimeError, NotImplementedError) as error:
        raise Misfit(f"PEFT cannot make its layer for `{name}`", causes=(_first_line(error),), hint=_TRY_PEFT) from None
    found = model.merge_and_unload()
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _alone(layer: Layer, name: str) -> Layer:
    """An otherwise empty model in which the layer has its own name."""
    import torch

    root = inner = torch.nn.Module()
    *path, last = name.split(".")
    for part in path:
        inner.add_module(part, torch.nn.Module())
        inner = getattr(inner, part)
    inner.add_module(last, layer)
    return root


def _named(name: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The tensors under PEFT's keys. Of what all modules share, this one's layer has the part that it reads."""
    used = []
    for key, wanted in expected.items():
        parameter = key.removeprefix(f"{_PREFIX}{name}.").removeprefix(_SHARED_PREFIX)
        if parameter not in tensors:
            message = f"the adapter has no `{parameter}` for `{name}`, which PEFT's layer needs"
            raise Misfit(message, hint=SAVE_AGAIN)
        found = tensors[parameter][tuple(slice(size) for size in wanted.shape)]
        if found.shape != wanted.shape:
            sizes = f"{list(found.shape)}; PEFT's layer needs {list(wanted.shape)}"
            raise Misfit(f"`{parameter}` of `{name}` has shape {sizes}", hint=SAVE_AGAIN)
        used.append(parameter)
        yield key, found.contiguous()
    unused = [parameter for parameter in tensors if parameter not in used]
    if unused:
        cause = "the configuration and the tensors of this adapter contradict each other"
        raise Misfit(f"PEFT's layer for `{name}` has no tensor `{unused[0]}`", causes=(cause,), hint=SAVE_AGAIN)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
