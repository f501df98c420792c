"""What several blocks share and takes whole tensors to make: computed once, by the first that asks, or elsewhere."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from brickctl.core.nodes import Bundle, Output, Statistic, key
from brickctl.tensors.kernels import find_bundle

if TYPE_CHECKING:
    from torch import Tensor

    from brickctl.core.digests import Sha256
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.evaluate import Evaluator


class Results:
    """Statistics, which are small and stay, and the latest bundles; an older one would be made again.

    `bundles` bytes of them are kept here, and `on_device` bytes where a device makes some, if one does. `at_once` of
    them are made at once. More than one only if none needs another: a thread that makes one would else wait for a
    second thread, which waits for leave to begin.
    """

    def __init__(self, bundles: int, at_once: int = 1, on_device: int | None = None) -> None:
        self.at_once = at_once
        self._leave = threading.Semaphore(at_once)
        self._bundles_at_work: dict[Bundle, threading.RLock] = {}
        self._statistics: dict[Sha256, Array] = {}
        self._known: dict[int, tuple[Statistic, Array]] = {}
        self._at_work: dict[Sha256, threading.RLock] = {}
        self._here, self._there = _Kept(bundles), None if on_device is None else _Kept(on_device)
        self._guard = threading.Lock()
        self._one_bundle = threading.RLock()
        self._unwanted = threading.Event()

    def statistic(self, node: Statistic, evaluator: Evaluator) -> Array:
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

    def know(self, node: Statistic, result: Array) -> None:
        """Take a statistic from who made it elsewhere."""
        self._known[id(node)] = node, result
        self._statistics[key(node)] = result

    def forget(self) -> None:
        """Let go of all statistics."""
        self._statistics.clear()
        self._known.clear()
        self._at_work.clear()

    def output(self, node: Output, evaluator: Evaluator) -> Tensor:
        """One whole tensor of a bundle, as a matrix."""
        if self.at_once == 1:
            with self._one_bundle:
                return (self._known_bundle(node.bundle) or self._make(node.bundle, evaluator))[node.index]
        with self._guard:
            turn = self._bundles_at_work.setdefault(node.bundle, threading.RLock())
        with turn:
            found = self._known_bundle(node.bundle)
            if found is None:
                with self._leave:
                    self.check_wanted()
                    found = self._make(node.bundle, evaluator)
            return found[node.index]

    def _known_bundle(self, bundle: Bundle) -> tuple[Tensor, ...] | None:
        with self._guard:
            return self._place(bundle).get(bundle)

    def _make(self, bundle: Bundle, evaluator: Evaluator) -> tuple[Tensor, ...]:
        with self._guard:
            self._place(bundle).make_room(bundle)
        made = evaluator.make(bundle)
        with self._guard:
            self._place(bundle).put(bundle, made)
        return made

    def _place(self, bundle: Bundle) -> _Kept:
        return self._here if self._there is None or not find_bundle(bundle.op).movable else self._there

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


class _Kept:
    """The latest bundles in one memory, so many bytes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bundles: OrderedDict[Bundle, tuple[Tensor, ...]] = OrderedDict()

    def get(self, bundle: Bundle) -> tuple[Tensor, ...] | None:
        if bundle in self._bundles:
            self._bundles.move_to_end(bundle)
        return self._bundles.get(bundle)

    def make_room(self, bundle: Bundle) -> None:
        while self._bundles and sum(map(_bytes, (*self._bundles, bundle))) > self._capacity:
            self._bundles.popitem(last=False)

    def put(self, bundle: Bundle, made: tuple[Tensor, ...]) -> None:
        self._bundles[bundle] = made


def _bytes(bundle: Bundle) -> int:
    return sum(spec.bytes for spec in bundle.specs)
