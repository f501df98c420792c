"""Rank and scale by module, as several types have them: alpha / r, with patterns for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.kinds.adapters.config import Pattern, number, pattern, positive, rank_pattern

if TYPE_CHECKING:
    from brickctl.core.document import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Rank and alpha, and the patterns that override them by module name."""

    rank: int
    alpha: float
    rank_pattern: Pattern
    alpha_pattern: Pattern

    def rank_of(self, module: str) -> int:
        """The rank that the configuration gives a module."""
        return int(self.rank_pattern.at(module, self.rank))

    def scale(self, module: str) -> float:
        """Alpha / r."""
        return self.alpha_pattern.at(module, self.alpha) / self.rank_of(module)


def read_scaling(table: Table, *, alpha: str, default: float) -> Scaling:
    """Take `r`, the field that is called `alpha`, and both patterns."""
    return Scaling(
        rank=positive(table, "r"),
        alpha=number(table, alpha, default),
        rank_pattern=rank_pattern(table),
        alpha_pattern=pattern(table, "alpha_pattern"),
    )
