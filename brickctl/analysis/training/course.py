"""How long something is trained, and how fast it learns at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How one thing is trained.

    Attributes:
        seed: of the weights that are initialised and of the order of what is read.
        steps: steps of the optimiser.
        learning_rate: the peak, reached after `warmup` steps; then a half cosine down to zero.
        batch: rows a step.
        warmup: steps of linear growth, at least one.
    """

    seed: int
    steps: int
    learning_rate: float
    batch: int = 64
    warmup: int = 40

    def rate(self, step: int) -> float:
        """Learning rate at a step counted from zero: peak * min((t + 1) / warmup, (1 + cos(pi t / steps)) / 2)."""
        return self.learning_rate * min((step + 1) / self.warmup, (1 + math.cos(math.pi * step / self.steps)) / 2)
