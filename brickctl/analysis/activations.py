"""Activations of FFN neurons while a model runs: heard, silenced, or cut to the largest.

All is undone on leaving, also by an error. Padding is left out: the model's `attention_mask` says which rows are
tokens, and a hook on the decoder sees the mask go in. What is changed is changed for padding too, which no token
attends to.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

from brickctl.analysis.experts import Expert, seen
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from brickctl.analysis.ffn import Ffn

    Hear = Callable[[int, torch.Tensor], None]
    HearWhere = Callable[[int, torch.Tensor, torch.Tensor], None]
    _Change = Callable[[int, torch.Tensor], torch.Tensor]

By = Literal["activation", "magnitude"]
"""What makes a neuron large: |a_i|, or ||a_i W_O[:, i]||_2, the length of what it adds to the output."""

BY: tuple[By, ...] = ("activation", "magnitude")


def require_finite(ffn: Ffn, activations: torch.Tensor) -> None:
    """Raise Unsupported where one of them is NaN or infinite, which would rank above or below all others."""
    if not bool(activations.isfinite().all()):
        hint = "float16 overflows beyond 65,504: bfloat16 has the range; weights may hold NaN as well"
        raise Unsupported(f"activations of `{ffn.name}` are NaN or infinite on these texts", hint=hint)


@contextmanager
def listening(ffns: Sequence[Ffn], hear: Hear) -> Iterator[None]:
    """`hear(index of the FFN, activations (tokens, neurons))` at every forward pass, without padding.

    What is heard, in the model's dtype, goes into the down projection. An expert hears only the tokens that are
    routed to it, and nothing where there are none. Whoever keeps activations copies them.
    """
    with locating(ffns, lambda index, activations, _: hear(index, activations)):
        yield


@contextmanager
def locating(ffns: Sequence[Ffn], hear: HearWhere) -> Iterator[None]:
    """As `listening`, and `hear` gets a third tensor (tokens,): where each token stands in the batch.

    Place p is row p // length, column p % length of the `input_ids` (rows, length) that the model was given.
    """

    def passed_on(index: int, activations: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        real, at = padding.without(activations, places)
        if len(real):
            hear(index, real, at)
        return activations

    with _noticing(ffns) as padding, _through(ffns, passed_on):
        yield


@contextmanager
def masking(ffns: Sequence[Ffn], masks: Sequence[torch.Tensor]) -> Iterator[None]:
    """Neurons whose place in `masks` (one for each FFN, (neurons,) bool) is True add nothing to the output."""
    with _changing(ffns, lambda index, a: a.masked_fill(masks[index].to(a.device), 0)):
        yield


@contextmanager
def keeping(ffns: Sequence[Ffn], share: float, by: By) -> Iterator[None]:
    """For each token and FFN only the `share` of its neurons that are largest add to the output.

    It is rounded to whole neurons, and of equal ones only some stay, so that the number is what was asked for.
    """
    norms = [ffn.output_norms() for ffn in ffns] if by == "magnitude" else []

    def largest(index: int, activations: torch.Tensor) -> torch.Tensor:
        size = activations.float().abs() * norms[index] if norms else activations.abs()
        kept = size.topk(round(share * size.shape[-1]), sorted=False).indices
        return activations.new_zeros(activations.shape).scatter(-1, kept, activations.gather(-1, kept))

    with _changing(ffns, largest):
        yield


@contextmanager
def _changing(ffns: Sequence[Ffn], change: _Change) -> Iterator[None]:
    """The down projections get `change(index, activations (tokens, neurons))` in place of their input."""
    with _through(ffns, lambda index, activations, _: change(index, activations)):
        yield


@contextmanager
def _through(ffns: Sequence[Ffn], view: Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """What goes into a down projection goes through `view(index, activations (rows, neurons), places (rows,))`."""
    experts: dict[int, tuple[Any, dict[int, int]]] = {}
    with ExitStack() as stack:
        for index, ffn in enumerate(ffns):
            if isinstance(ffn.parts, Expert):
                experts.setdefault(id(ffn.parts.experts), (ffn.parts.experts, {}))[1][ffn.parts.number] = index
            else:
                handle = ffn.parts.down.register_forward_pre_hook(_hook(index, view))
                stack.callback(handle.remove)
        for module, indices in experts.values():
            stack.enter_context(seen(module, _view_of_experts(indices, view)))
        yield


def _hook(index: int, view: Callable[..., torch.Tensor]) -> Callable[..., tuple[torch.Tensor]]:
    def hook(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        import torch

        whole = inputs[0]
        flat = whole.reshape(-1, whole.shape[-1])
        return (view(index, flat, torch.arange(len(flat), device=flat.device)).reshape(whole.shape),)

    return hook


def _view_of_experts(indices: dict[int, int], view: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def see(number: int, activations: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return view(indices[number], activations, tokens) if number in indices else activations

    return see


@dataclass(slots=True)
class _Padding:
    """The mask of the batch that the model is reading, flat: (rows * length,); None where every place is a token."""

    mask: torch.Tensor | None = None

    def without(self, activations: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Activations and their places, of tokens only."""
        if self.mask is None:
            return activations, places
        real = self.mask[places]
        return activations[real], places[real]


@contextmanager
def _noticing(ffns: Sequence[Ffn]) -> Iterator[_Padding]:
    """Follows which places of the model's input are tokens."""
    padding = _Padding()

    def notice(decoder: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = signature(decoder.forward).bind(*inputs, **named).arguments
        mask = given.get("attention_mask")
        ids = given["input_ids"] if given.get("input_ids") is not None else given["inputs_embeds"]
        # while generating, the mask covers what was read before as well
        padding.mask = None if mask is None else mask[:, -ids.shape[1] :].reshape(-1).bool()

    with ExitStack() as stack:
        for decoder in {id(ffn.decoder): ffn.decoder for ffn in ffns}.values():
            stack.callback(decoder.register_forward_pre_hook(notice, with_kwargs=True).remove)
        yield padding
