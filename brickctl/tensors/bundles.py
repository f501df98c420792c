"""Bundles: whole tensors from whole inputs, made in the memory of this machine or of a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from brickctl.core.regions import whole
from brickctl.errors import BrickctlError
from brickctl.tensors.kernels import arguments_of, find_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from brickctl.core.nodes import Bundle, Node
    from brickctl.tensors.device import Device
    from brickctl.tensors.evaluate import Evaluator

_HERE = "cpu"


def make_bundle(bundle: Bundle, evaluator: Evaluator, device: Device | None) -> tuple[Tensor, ...]:
    """All tensors of a bundle, as matrices in fp64; on the device, if there is one and it can make them.

    Raises:
        NoSpace: the device's memory is full.
    """
    if device is None or not find_bundle(bundle.op).movable:
        return _make(bundle, evaluator, _HERE)
    with device.at_work():
        return _make(bundle, evaluator, device.name)


def _make(bundle: Bundle, evaluator: Evaluator, device: str) -> tuple[Tensor, ...]:
    import torch

    found = find_bundle(bundle.op)
    at_once = () if found.in_turn else bundle.inputs
    inputs = [evaluator.evaluate(node, whole(node.spec)) for node in at_once]
    shapes = ((spec.rows, spec.columns) for spec in bundle.specs)
    outs = tuple(torch.empty(shape, dtype=torch.float64, device=device) for shape in shapes)
    moved = [part.matrix.to(device) for part in inputs]
    try:
        given = InTurn(evaluator, bundle.inputs, device) if found.in_turn else moved
        found.run(given, outs, arguments_of(bundle.op))
    except BrickctlError as fault:
        fault.causes += evaluator.read_from(bundle.inputs)
        raise
    for part in inputs:
        evaluator.give_back(part)
    return outs


class InTurn(Sequence["Tensor"]):
    """Whole inputs in fp64, each made in the same memory when it is asked for."""

    def __init__(self, evaluator: Evaluator, nodes: Sequence[Node], device: str) -> None:
        self._evaluator = evaluator
        self._nodes = nodes
        self._device = device
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
            size = max(node.spec.elements for node in self._nodes)
            self._memory = torch.empty(size, dtype=torch.float64, device=self._device)
        node = self._nodes[at]
        matrix = self._memory[: node.spec.elements].view(node.spec.rows, node.spec.columns)
        self._evaluator.gather(node, matrix)
        return matrix
