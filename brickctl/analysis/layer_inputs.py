"""What goes into the linear layers of a model: Gram matrices of their inputs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.analysis.rows import Row


def input_grams(model: Any, rows: Sequence[Row], *, advance: Callable[[int], object]) -> Mapping[str, Tensor]:
    """G = X^T X / t for every linear layer, by the name of its weight: (in, in) in F32, symmetric.

    X (t, in) are the inputs of the layer for all t tokens of the rows, prompts and completions alike. Rows are read one
    at a time. A head that shares the weight of an embedding has no matrix. Beside the model it takes these matrices.
    `advance` hears how many tokens were read.
    """
    import torch

    with torch.inference_mode(), _sums(model) as sums:
        for row in rows:
            model(input_ids=torch.tensor([row.tokens], device=model.device), use_cache=False)
            advance(len(row.tokens))
    tokens = sum(len(row.tokens) for row in rows)
    return {name: (total + total.T).div_(2 * tokens) for name, total in sums.items()}


@contextmanager
def _sums(model: Any) -> Iterator[Mapping[str, Tensor]]:
    """Add up X^T X of every linear layer; those with one input, such as q, k and v, share the product."""
    import torch

    names = {f"{name}.weight" for name, _ in model.named_modules()} & {name for name, _ in model.named_parameters()}
    sums: dict[str, Tensor] = {}
    latest: list[Tensor] = []

    def add_to(total: Tensor) -> Callable[[Any, Any], None]:
        def add(_: Any, given: tuple[Tensor, ...]) -> None:
            if not latest or latest[0] is not given[0]:
                flat = given[0].detach().reshape(-1, given[0].shape[-1]).float()
                latest[:] = given[0], flat.T @ flat
            total.add_(latest[1])

        return add

    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and f"{name}.weight" in names:
            width = module.in_features
            sums[f"{name}.weight"] = module.weight.new_zeros(width, width, dtype=torch.float32)
            hooks.append(module.register_forward_pre_hook(add_to(sums[f"{name}.weight"])))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()
