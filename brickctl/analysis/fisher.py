"""Fisher information: how much the predictions of a model depend on each of its weights."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.analysis.rows import Row

Labels = Literal["sampled", "given"]
"""Tokens whose likelihood is differentiated: drawn from what the model itself predicts, or those of the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Information:
    """The diagonal Fisher information of every weight, by the names that model files have; F32.

    `loss` is the mean of -ln p over the tokens of the text, in nats.
    """

    tensors: Mapping[str, Tensor]
    loss: float


def diagonal_fisher(
    model: Any, rows: Sequence[Row], *, labels: Labels, seed: int, advance: Callable[[int], object]
) -> Information:
    """F = 1 / n sum over n rows of (d/dx sum_t ln p(y_t | the tokens before it))^2, for every weight x.

    The sum is over the tokens t of a row that are to be predicted. With `sampled` labels y_t is drawn from what the
    model predicts there, in the context of the text, and F estimates the expectation over these predictions by which
    Matena and Raffel (https://arxiv.org/abs/2111.09832) merge. With `given` ones y_t is the token of the text: the
    empirical Fisher information, which is large where the text surprises the model, and is known to be another thing
    (Kunstner et al., https://arxiv.org/abs/1905.12558).

    Rows are read one at a time, as squares of sums over rows would be something else. Beside the model it takes one
    number for each weight and the gradient of one tensor. `advance` hears how many tokens were read.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    losses, count = 0.0, 0
    with _squares(model) as squares:
        for row in rows:
            ids = torch.tensor([row.tokens], device=model.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, row.first - 1 : -1].float()
            text = ids[0, row.first :]
            wanted = text if labels == "given" else drawn(logits.detach(), generator)
            likelihood = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
            torch.autograd.backward(likelihood)
            losses += float(torch.nn.functional.cross_entropy(logits.detach(), text, reduction="sum"))
            count += row.predicted
            advance(len(row.tokens))
    tensors = {name: square.div_(len(rows)) for name, square in squares.items()}
    return Information(tensors=as_stored(model, tensors), loss=losses / count)


def drawn(logits: Tensor, generator: Any) -> Tensor:
    """A label for each row of logits (tokens, labels): the first at which the distribution function exceeds a draw."""
    import torch

    reached = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    draws = torch.rand(len(logits), 1, dtype=torch.float64, generator=generator).to(logits.device)
    return (reached <= draws * reached[:, -1:]).sum(dim=-1).clamp_(max=logits.shape[1] - 1)


@contextmanager
def _squares(model: Any) -> Iterator[Mapping[str, Tensor]]:
    """Add up the squares of the gradients of all weights, by their names in the model; each gradient is then gone."""
    import torch

    sums: dict[str, Tensor] = {}
    hooks, before = [], {name: weight.requires_grad for name, weight in model.named_parameters()}

    def add_to(total: Tensor) -> Callable[[Any], None]:
        def add(weight: Any) -> None:
            total.add_(weight.grad.float().square_())
            weight.grad = None

        return add

    for name, weight in model.named_parameters():
        weight.requires_grad_(True)  # noqa: FBT003 - torch takes it so
        sums[name] = torch.zeros_like(weight, dtype=torch.float32, requires_grad=False)
        hooks.append(weight.register_post_accumulate_grad_hook(add_to(sums[name])))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()
        for name, weight in model.named_parameters():
            weight.requires_grad_(before[name])


def as_stored(model: Any, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors of a model in memory under the names, and in the parts, that its files have.

    transformers keeps the experts of a mixture in one tensor that files have one by one, and knows the way back.
    """
    from transformers.core_model_loading import revert_weight_conversion

    found: Mapping[str, Tensor] = revert_weight_conversion(model, dict(tensors))
    return {name: tensor.contiguous() for name, tensor in found.items()}
