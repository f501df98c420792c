"""A model with some groups of each FFN only: those that its router chooses for a token, hard, and what is shared."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.analysis.splitting.passing import passing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.splitting.partition import Partition
    from brickctl.analysis.splitting.routers import Router


@dataclass(frozen=True, slots=True)
class Gate:
    """The groups of one FFN, and who chooses among them."""

    partition: Partition
    router: Router

    def kept(self, hidden: torch.Tensor, activations: torch.Tensor, active: int) -> torch.Tensor:
        """Which neurons are on, (tokens, neurons) bool: those of the `active` groups that score best, and the shared.

        Of equal scores, torch says which counts as larger: oracles and trained routers have hardly any.
        """
        import torch

        scores = self.router.scores(hidden, activations)
        best = scores.topk(active, dim=1, sorted=False).indices
        groups = torch.zeros(scores.shape[0], scores.shape[1] + 1, dtype=torch.bool, device=scores.device)
        groups[:, -1] = True  # the group SHARED, which is -1
        groups.scatter_(1, best, value=True)
        return groups[:, torch.from_numpy(self.partition.labels).to(scores.device)]


@contextmanager
def gated(ffns: Sequence[Ffn], gates: Sequence[Gate], active: int) -> Iterator[None]:
    """Each token has `active` groups of each FFN, and what is shared; all other neurons add nothing."""

    def cut(index: int, hidden: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        return activations.masked_fill(~gates[index].kept(hidden, activations, active), 0)

    with passing(ffns, cut):
        yield
