"""What a way to split an FFN is, and how such ways are found: each is one file of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from brickctl.core.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from brickctl.analysis.splitting.partition import Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An FFN to be split. Methods take what they need, and nothing is computed for those that do not.

    Attributes:
        neurons: how many it has.
        groups: how many to make, each of (neurons - shared) / groups neurons.
        shared: how many neurons are to be always on.
        seed: of what is drawn.
        inward: the rows that make the activations, fp32 (neurons, hidden) each: gate and up, or up alone.
        coactivations: how often each two neurons fired together, and on the diagonal each alone: (neurons, neurons).
    """

    neurons: int
    groups: int
    shared: int
    seed: int
    inward: Callable[[], tuple[NDArray[np.float32], ...]]
    coactivations: Callable[[], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to split.

    Attributes:
        split: puts the neurons into groups; the same for the same layer.
        hears: whether it needs activations on a text.
        shares: whether it leaves neurons always on.
    """

    split: Callable[[Layer], Partition]
    hears: bool
    shares: bool


_Split = TypeVar("_Split", bound="Callable[[Layer], Partition]")
_METHODS: Plugins[Method] = Plugins("brickctl.analysis.splitting")


def splitting_method(name: str, *, hears: bool = False, shares: bool = False) -> Callable[[_Split], _Split]:
    """Declare a function to be the method `name`."""

    def declare(split: _Split) -> _Split:
        _METHODS.declare(name, Method(split=split, hears=hears, shares=shares))
        return split

    return declare


def methods() -> Mapping[str, Method]:
    """Every method, by name."""
    return _METHODS.all()


def neighbours(layer: Layer) -> NDArray[np.int64]:
    """The labels (neurons,) of groups that are runs of neighbours."""
    import numpy as np

    return np.repeat(np.arange(layer.groups), layer.neurons // layer.groups)
