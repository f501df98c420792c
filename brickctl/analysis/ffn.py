"""The FFNs of a model, found by the shapes and names of their modules and not by the name of the architecture.

An FFN is a sum over neurons: FFN(x) = sum_i a_i W_O[:, i] (and a bias, in some). With a gate a_i = sigma(W_G x)_i
(W_I x)_i, else a_i = sigma(W_I x + b)_i.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.analysis.experts import Expert, experts_of
from brickctl.core.numbers import layer_of
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_LINEARS = (
    ("down_proj", ("gate_proj", "up_proj")),  # Llama, Qwen, Mistral, Gemma, OLMo, DeepSeek
    ("down_proj", ("gate_up_proj",)),  # Phi-3, GLM: gate and up in one
    ("down_proj", ("up_proj",)),  # Nemotron, MPT
    ("c_proj", ("c_fc",)),  # GPT-2, GPT-Neo, StarCoder
    ("fc2", ("fc1",)),  # OPT, Phi, XGLM
    ("fc_out", ("fc_in",)),  # GPT-J, CodeGen
    ("dense_4h_to_h", ("dense_h_to_4h",)),  # GPT-NeoX, BLOOM, Falcon
    ("w2", ("w1", "w3")),  # LFM2, InternLM
    ("output_linear", ("input_linear",)),  # Granite: gate and up in one
)
"""What the linear layers of an FFN are called: the one out of the neurons, and those into them, gate first."""

_PLAIN = "merge adapters into the model first; quantised weights are not read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Linears:
    """An FFN of linear layers: `up` into the neurons (gate first, or both in one), `down` out of them."""

    up: tuple[Any, ...]
    down: Any

    def inward(self) -> tuple[torch.Tensor, ...]:
        """What makes the activations: the gate if there is one, then up, each (neurons, hidden)."""
        weights = tuple(_rows(layer) for layer in self.up)
        fused = len(weights) == 1 and weights[0].shape[0] == 2 * self.outward().shape[1]
        return weights[0].chunk(2) if fused else weights

    def outward(self) -> torch.Tensor:
        """W_O, (hidden, neurons)."""
        return _rows(self.down)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ffn:
    """One FFN, or one expert of a mixture, in a model that is loaded.

    `name` is the path of its module (`model.layers.3.mlp`, `model.layers.3.mlp.experts.7`); in an OPT, whose linear
    layers stand in the block itself, that of the block. `layer` is the number of its block, `expert` its number in a
    mixture and None elsewhere: an expert that is always on counts as an FFN of its own. `parts` has the weights,
    `decoder` is what it was found in: the model without its head.
    """

    name: str
    layer: int
    expert: int | None
    decoder: Any = field(repr=False)
    parts: Linears | Expert = field(repr=False)

    @property
    def neurons(self) -> int:
        """How many neurons it has."""
        return int(self.parts.outward().shape[1])

    @property
    def is_gated(self) -> bool:
        """Whether an activation is a product of a gate and another number."""
        return len(self.parts.inward()) > 1

    def output_norms(self) -> torch.Tensor:
        """The length of each neuron's part in the output, ||W_O[:, i]||_2, (neurons,) fp32."""
        import torch

        norms: torch.Tensor = torch.linalg.vector_norm(self.parts.outward().float(), dim=0)
        return norms


def find_ffns(model: Any) -> tuple[Ffn, ...]:
    """All FFNs of a causal language model of transformers, in the order of its layers; experts by number.

    Of a model that also sees or hears, those of its language model.

    Raises:
        Unsupported: there is none, or a mixture runs its experts in a way that cannot be listened to.
    """
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    prefix = next((f"{path}." if path else "" for path, module in model.named_modules() if module is decoder), "")
    found = [one for path, module in decoder.named_modules() for one in _found(decoder, prefix + path, module)]
    if not found:
        raise Unsupported(f"no FFN was found in {type(model).__name__}")
    return tuple(sorted(found, key=lambda one: one.layer))


def _found(decoder: Any, path: str, module: Any) -> Iterator[Ffn]:
    """What stands directly in a module: an FFN of linear layers, or the experts of a mixture."""
    layer = layer_of(f"{path}.weight") or 0
    for expert in experts_of(path, module):
        name = f"{path}.{expert.number}"
        yield Ffn(name=name, layer=layer, expert=expert.number, decoder=decoder, parts=expert)
    linears = _linears_of(path, module)
    if linears is not None:
        _refuse_listed_expert(path)
        yield Ffn(name=path, layer=layer, expert=None, decoder=decoder, parts=linears)


def _linears_of(path: str, module: Any) -> Linears | None:
    """The linear layers of an FFN among a module's own, if their shapes are those of one."""
    for out, into in _LINEARS:
        layers = [module._modules.get(name) for name in (out, *into)]  # noqa: SLF001 - modules only, and no properties
        if None in layers:
            continue
        if not all(map(_is_linear, layers)):
            raise Unsupported(f"the FFN in `{path}` is not made of plain linear layers", hint=_PLAIN)
        if _fit(*map(_rows, layers)):
            return Linears(up=tuple(layers[1:]), down=layers[0])
    return None


def _fit(down: torch.Tensor, *up: torch.Tensor) -> bool:
    hidden, neurons = down.shape
    sizes = {1: (neurons, 2 * neurons), 2: (neurons,)}[len(up)]
    return all(one.shape[1] == hidden and one.shape[0] in sizes for one in up)


def _is_linear(layer: Any) -> bool:
    """A plain linear layer: not one that PEFT has wrapped, whose weight is only a part, and not a packed one."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    return isinstance(layer, Linear | Conv1D) and layer.weight.is_floating_point() and layer.weight.dim() == 2  # noqa: PLR2004 - a matrix


def _rows(layer: Any) -> torch.Tensor:
    """A weight as (out, in): GPT-2's Conv1D stores (in, out)."""
    from torch.nn import Linear

    weight: torch.Tensor = layer.weight.detach()
    return weight if isinstance(layer, Linear) else weight.T


def _refuse_listed_expert(path: str) -> None:
    """An expert that is a module of its own sees some tokens only, and nothing says which: transformers 4 had such."""
    *_, before, last = ("", *path.split("."))
    if before == "experts" and last.isdigit():
        raise Unsupported(f"the experts in `{path}` are modules of their own, and cannot be listened to")
