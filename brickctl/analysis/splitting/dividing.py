"""All FFNs of a model split in one way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from brickctl.analysis.batches import unwatched
from brickctl.analysis.splitting.method import Layer, methods
from brickctl.analysis.splitting.partition import shared_neurons

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.splitting.marks import Marks
    from brickctl.analysis.splitting.partition import Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How FFNs are split: into `groups` by a `method`, with a share of the neurons always on, 0 for most methods."""

    method: str
    groups: int
    shared: float = 0.0
    seed: int = 0

    def active_groups(self, share: float, neurons: int) -> int:
        """How many groups are on where at most this share of the neurons is, the shared ones among them; at least 1."""
        always = shared_neurons(neurons, self.groups, self.shared)
        size = (neurons - always) // self.groups
        return min(self.groups, max(1, int((share * neurons - always) / size + 1e-9)))


def divide(ffns: Sequence[Ffn], marks: Sequence[Marks], cut: Cut, *, watch: Watch = unwatched) -> Iterator[Partition]:
    """The partition of one FFN after the other; `marks` may be empty where the method does not listen.

    Raises:
        Misfit: the neurons of an FFN make no such groups.
    """
    method = methods()[cut.method]
    sizes = [shared_neurons(ffn.neurons, cut.groups, cut.shared) for ffn in ffns]  # refused before the first is split
    for at, (ffn, shared) in enumerate(zip(ffns, sizes, strict=True)):
        layer = Layer(
            neurons=ffn.neurons,
            groups=cut.groups,
            shared=shared,
            seed=cut.seed,
            inward=partial(_inward, ffn),
            coactivations=partial(_coactivations, marks, at),
        )
        yield method.split(layer)
        watch(1)


def _inward(ffn: Ffn) -> tuple[NDArray[np.float32], ...]:
    return tuple(rows.float().cpu().numpy() for rows in ffn.parts.inward())


def _coactivations(marks: Sequence[Marks], at: int) -> NDArray[np.float32]:
    return marks[at].coactivations()
