"""Routers: what chooses the groups of a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from brickctl.analysis.splitting.partition import Partition


class Router(Protocol):
    """Scores groups: those with the largest scores are on."""

    def scores(self, hidden: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        """(tokens, groups) fp32, of hidden states (tokens, hidden) and the activations of all neurons."""


@dataclass(frozen=True, slots=True)
class Oracle:
    """Knows what it cannot know without computing all neurons: the activation in each group. An upper bound."""

    partition: Partition

    def scores(self, hidden: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        """sum_{i in g} |a_i|."""
        del hidden
        return group_sums(activations.float().abs(), self.partition)


@dataclass(frozen=True, slots=True, eq=False)
class LinearRouter:
    """A matrix (groups, hidden) without a bias: what a mixture of experts can hold as it is."""

    weight: torch.Tensor

    def scores(self, hidden: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        """W h."""
        del activations
        return hidden.float() @ self.weight.to(hidden.device).T

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """By the names that they have below `router`."""
        return {"weight": self.weight}


@dataclass(frozen=True, slots=True, eq=False)
class MlpRouter:
    """Two layers: `inner` (width, hidden) with a bias (width,), `outer` (groups, width) with a bias (groups,)."""

    inner: torch.Tensor
    inner_bias: torch.Tensor
    outer: torch.Tensor
    outer_bias: torch.Tensor

    def scores(self, hidden: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        """W_2 relu(W_1 h + b_1) + b_2."""
        del activations
        inner, inner_bias, outer, outer_bias = (one.to(hidden.device) for one in self.tensors().values())
        return (hidden.float() @ inner.T + inner_bias).relu() @ outer.T + outer_bias

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """By the names that they have below `router`: those of torch.nn.Sequential."""
        return {
            "0.weight": self.inner,
            "0.bias": self.inner_bias,
            "2.weight": self.outer,
            "2.bias": self.outer_bias,
        }


def similarity(rows: torch.Tensor, partition: Partition) -> LinearRouter:
    """The mean of the unit rows (neurons, hidden) of each group: those of the gate (of up, where there is none).

    A token goes to the group whose neurons look for what it has: MoEfication's router by parameter centers.
    """
    import torch

    unit = torch.nn.functional.normalize(rows.float().cpu(), dim=1)
    return LinearRouter(group_sums(unit.T, partition).T.contiguous() / partition.size)


def group_sums(values: torch.Tensor, partition: Partition) -> torch.Tensor:
    """The sum over the neurons of each group: (..., neurons) gives (..., groups)."""
    import torch

    grouped = torch.from_numpy(partition.order[partition.shared :].astype("int64")).to(values.device)
    sums: torch.Tensor = values[..., grouped].reshape(*values.shape[:-1], partition.groups, partition.size).sum(dim=-1)
    return sums
