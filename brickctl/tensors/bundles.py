"""Whole inputs of a bundle that are not held at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.tensors.evaluate import Evaluator


class InTurn(Sequence["Tensor"]):
    """Whole inputs in fp64, each made in the same memory when it is asked for."""

    def __init__(self, evaluator: Evaluator, nodes: Sequence[Node]) -> None:
        self._evaluator = evaluator
        self._nodes = nodes
        self._memory: Tensor | None = None

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Tensor]:
        """Each in turn; the memory is given back at the end, unless the last one is still in somebody's hands."""
        for at in range(len(self._nodes)):
            yield self[at]
        self._memory = None

    def __getitem__(self, at: Any) -> Any:
        """The input of this number; what was made before is gone."""
        import torch

        if self._memory is None:
            self._memory = torch.empty(max(node.spec.elements for node in self._nodes), dtype=torch.float64)
        node = self._nodes[at]
        matrix = self._memory[: node.spec.elements].view(node.spec.rows, node.spec.columns)
        self._evaluator.gather(node, matrix)
        return matrix
