"""What goes through an FFN while a model runs: the hidden states that come in, and the activations made of them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from brickctl.analysis.ffn import Linears
from brickctl.errors import Misfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from brickctl.analysis.ffn import Ffn

    View = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


@contextmanager
def passing(ffns: Sequence[Ffn], view: View) -> Iterator[None]:
    """At every forward pass `view(index of the FFN, hidden (tokens, hidden), activations (tokens, neurons))`.

    What it returns takes the place of the activations. Padding passes too: batches have none, or it does not matter.

    Raises:
        Misfit: an FFN is an expert of a mixture, which sees some tokens only.
    """
    with ExitStack() as stack:
        for index, ffn in enumerate(ffns):
            for handle in _hooks(index, _linears(ffn), view):
                stack.callback(handle.remove)
        yield


def _linears(ffn: Ffn) -> Linears:
    if not isinstance(ffn.parts, Linears):
        raise Misfit(f"`{ffn.name}` is an expert already: only dense FFNs are split")
    return ffn.parts


def _hooks(index: int, linears: Linears, view: View) -> tuple[Any, Any]:
    """One hook keeps what comes in until the other one, on the way out, needs it."""
    hidden: list[torch.Tensor] = []

    def come_in(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        hidden[:] = [inputs[0].reshape(-1, inputs[0].shape[-1])]

    def go_out(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        whole = inputs[0]
        return (view(index, hidden.pop(), whole.reshape(-1, whole.shape[-1])).reshape(whole.shape),)

    into, out = linears.up[0], linears.down
    return into.register_forward_pre_hook(come_in), out.register_forward_pre_hook(go_out)
