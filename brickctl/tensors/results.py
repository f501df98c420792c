"""What several blocks share and takes whole tensors to make: computed once, by the first thread that asks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from brickctl.core.nodes import Bundle, Output, Statistic, key

if TYPE_CHECKING:
    from torch import Tensor

    from brickctl.core.digests import Sha256
    from brickctl.tensors.evaluate import Block, Evaluator


class Results:
    """Statistics, which are small and stay, and the latest `bundles` bundles; an older one would be made again."""

    def __init__(self, bundles: int) -> None:
        self._statistics: dict[Sha256, Block] = {}
        self._bundles: OrderedDict[Bundle, tuple[Tensor, ...]] = OrderedDict()
        self._capacity = bundles
        self._guard = threading.RLock()

    def statistic(self, node: Statistic, evaluator: Evaluator) -> Tensor:
        """The whole result of a statistic."""
        name = key(node)
        with self._guard:
            if name not in self._statistics:
                self._statistics[name] = evaluator.accumulate(node)
            return self._statistics[name].matrix

    def output(self, node: Output, evaluator: Evaluator) -> Tensor:
        """One whole tensor of a bundle, as a matrix."""
        with self._guard:
            if node.bundle not in self._bundles:
                while len(self._bundles) >= self._capacity:
                    self._bundles.popitem(last=False)
                self._bundles[node.bundle] = evaluator.make(node.bundle)
            self._bundles.move_to_end(node.bundle)
            return self._bundles[node.bundle][node.index]
