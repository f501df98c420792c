"""PHATGOOSE: for every module an adapter learns which of its inputs it is for. See arXiv 2402.05859.

    y = W u + sigmoid(v . u) B A u

v of every module is trained, from zeros, to predict the adapter's own examples, while the model and the adapter stay as
they are. What is kept of it is its direction, standardised: less the mean of its numbers, over their deviation.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import on_device, unwatched
from brickctl.core.document import shown
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What an adapter adds to a module, as up (out, r) @ down (r, in)."""

    up: Tensor
    down: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A vector (in,) for every module by its path, standardised, fp32 on the CPU; zeros where nothing was learned.

    `losses` has for every step the mean of -ln p over the tokens that were predicted, in nats, before the step.
    """

    vectors: Mapping[str, Tensor]
    losses: tuple[float, ...]


def batches_within(rows: Sequence[Row], *, steps: int, tokens: int) -> tuple[tuple[Row, ...], ...]:
    """Rows in their order, and again from the first, until `tokens` are there, which the last row may exceed.

    They come in `steps` batches with about as many tokens each; in fewer, where a row alone has more.
    """
    found: list[tuple[Row, ...]] = []
    ahead, read = cycle(rows), 0
    while read < tokens:
        batch: list[Row] = []
        while not batch or read * steps < tokens * (len(found) + 1):
            batch.append(next(ahead))
            read += len(batch[-1].tokens)
        found.append(tuple(batch))
    return tuple(found)


def train_gates(
    model: Any,
    products: Mapping[str, Product],
    batches: Sequence[Sequence[Row]],
    *,
    rate: float,
    watch: Watch = unwatched,
) -> Trained:
    """Train the gates of one adapter, a step of Adam for every batch; the same numbers from the same arguments.

    Args:
        model: one in evaluation mode, in fp32, without adapters; its weights no longer want gradients afterwards.
        products: what the adapter adds, by the path of a module.
        batches: rows of tokens, read as one; those to predict are predicted.
        rate: how far a step of Adam moves each number of a gate.
        watch: hears how many tokens were read.

    Raises:
        Unsupported: transformers has no linear layer where an adapter adds something.
    """
    import torch

    model.requires_grad_(False)  # noqa: FBT003 - torch takes it so
    gates = {path: torch.zeros(one.down.shape[1], device=model.device) for path, one in products.items()}
    optimizer = torch.optim.Adam([gate.requires_grad_() for gate in gates.values()], lr=rate)
    losses = []
    with _gated(model, products, gates):
        for batch in batches:
            loss = _loss(model, batch)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
            watch(sum(len(row.tokens) for row in batch))
    vectors = {path: standardised(gate.detach().cpu()) for path, gate in gates.items()}
    return Trained(vectors=vectors, losses=tuple(losses))


def linear_layers(model: Any, paths: Iterable[str]) -> Mapping[str, Any]:
    """The linear layers at these paths, which are those of the files of the model.

    Raises:
        Unsupported: transformers has none there, as for an expert of a mixture, all of which it computes at once.
    """
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    layers = dict(model.named_modules(remove_duplicate=False))
    found = {path: layers.get(path) for path in paths}
    for path, layer in found.items():
        if not isinstance(layer, Linear | Conv1D):
            cause = f"transformers has no linear layer `{shown(path)}`: it calls it otherwise, or computes it otherwise"
            raise Unsupported("no gates can be trained on this model", causes=(cause,))
    return found


def standardised(vector: Tensor) -> Tensor:
    """The vector less its mean, over its standard deviation, in fp64 and rounded once; zeros where it has none."""
    import torch

    centred = vector.double() - vector.double().mean()
    deviation = centred.square().mean().sqrt()
    return (centred / deviation).float() if float(deviation) != 0.0 else torch.zeros_like(vector)


@contextmanager
def _gated(model: Any, products: Mapping[str, Product], gates: Mapping[str, Tensor]) -> Iterator[None]:
    """Let every module add what its gate lets through."""

    def added(product: Product, gate: Tensor) -> Callable[[Any, tuple[Tensor, ...], Tensor], Tensor]:
        def add(_: Any, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
            opening = (given[0] @ gate).sigmoid().unsqueeze(-1)
            return out + opening * (given[0] @ product.down.T @ product.up.T)

        return add

    modules = linear_layers(model, products)
    hooks = [one.register_forward_hook(added(products[path], gates[path])) for path, one in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _loss(model: Any, batch: Sequence[Row]) -> Tensor:
    """The mean of -ln p over the tokens of all rows that are to be predicted."""
    import torch

    ids, mask = on_device(model, [row.tokens for row in batch])
    wanted = torch.zeros_like(mask, dtype=torch.bool)
    for at, row in enumerate(batch):
        wanted[at, row.first : len(row.tokens)] = True
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1][wanted[:, 1:]].float(), ids[wanted])
