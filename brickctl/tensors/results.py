"""What several blocks share and takes whole tensors to make: computed once, by the first thread that asks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from brickctl.core.nodes import Bundle, Output, Statistic, key

if TYPE_CHECKING:
    from torch import Tensor

    from brickctl.core.digests import Sha256
    from brickctl.tensors.evaluate import Evaluator


class Results:
    """Statistics, which are small and stay, and the latest `bundles` bundles; an older one would be made again."""

    def __init__(self, bundles: int) -> None:
        self._statistics: dict[Sha256, Tensor] = {}
        self._known: dict[int, tuple[Statistic, Tensor]] = {}
        self._at_work: dict[Sha256, threading.RLock] = {}
        self._bundles: OrderedDict[Bundle, tuple[Tensor, ...]] = OrderedDict()
        self._capacity = bundles
        self._guard = threading.Lock()
        self._one_bundle = threading.RLock()
        self._unwanted = threading.Event()

    def statistic(self, node: Statistic, evaluator: Evaluator) -> Tensor:
        """The whole result of a statistic, made by one thread while the others make different ones."""
        known = self._known.get(id(node))
        if known is not None:
            return known[1]
        name = key(node)
        with self._guard:
            turn = self._at_work.setdefault(name, threading.RLock())
        with turn:
            if name not in self._statistics:
                self._statistics[name] = evaluator.summarise(node)
            self._known[id(node)] = node, self._statistics[name]
            return self._statistics[name]

    def output(self, node: Output, evaluator: Evaluator) -> Tensor:
        """One whole tensor of a bundle, as a matrix."""
        with self._one_bundle:
            if node.bundle not in self._bundles:
                while len(self._bundles) >= self._capacity:
                    self._bundles.popitem(last=False)
                self._bundles[node.bundle] = evaluator.make(node.bundle)
            self._bundles.move_to_end(node.bundle)
            return self._bundles[node.bundle][node.index]

    def stop(self) -> None:
        """Nobody wants results any more: what is under way ends at its next block."""
        self._unwanted.set()

    def check_wanted(self) -> None:
        """Go on only if somebody waits for it.

        Raises:
            CancelledError: nobody does.
        """
        if self._unwanted.is_set():
            raise CancelledError
