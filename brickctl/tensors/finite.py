"""Numbers that are none: what overflows or was NaN before must not become a model that builds without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.graph import walk
from brickctl.core.nodes import Stored
from brickctl.core.regions import blocks
from brickctl.errors import Misfit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.evaluate import Evaluator


def is_finite(matrix: Tensor) -> bool:
    """Whether a block holds neither NaN nor infinity; one pass, as the extremes of a block with NaN are NaN."""
    import torch

    low, high = torch.aminmax(matrix)
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))


def not_finite(name: str, node: Node, evaluator: Evaluator, blobs: Blobs) -> Misfit:
    """An error about the tensor `name`, which says in which files such numbers were before, if they were in any."""
    files = list(dict.fromkeys(_spoilt(node, evaluator, blobs)))
    if files:
        causes = tuple(f"{shown(file, longest=200)} holds NaN or infinity" for file in files)
        hint = "leave that brick out, or ask its publisher for another file"
    else:
        causes = ("all that goes into it is finite, so its sums became too large for the type of the weights",)
        hint = 'look at the weights of the merge; dtype = "float32" has more room than float16'
    return Misfit(f"`{shown(name)}` would hold NaN or infinity", causes=causes, hint=hint)


def _spoilt(node: Node, evaluator: Evaluator, blobs: Blobs) -> Iterator[str]:
    """Files of the stored tensors below a node that hold such numbers."""
    for stored in walk(node):
        if isinstance(stored, Stored) and stored.spec.dtype.is_mergeable:
            for region in blocks(stored.spec):
                block = evaluator.evaluate(stored, region)
                finite = is_finite(block.matrix)
                evaluator.give_back(block)
                if not finite:
                    yield blobs.name(stored.blob)
                    break
