"""What a check measured of a model, and what it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SHOWN = 3
"""How many of the worst examples a result keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """An example that speaks against a model.

    Attributes:
        prompt: what the model was given.
        wanted: what it should have answered; empty where nothing is answered.
        got: what it answered; empty as above.
        nats: how bad it is, where a kind of check has a measure of that: kinds say of what.
    """

    prompt: str
    wanted: str
    got: str
    nats: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A share in [0, 1], a perplexity or another figure, over `count` examples or tokens; `worst` at most `SHOWN`."""

    value: float
    count: int
    worst: tuple[Wrong, ...] = ()


Good = Literal["min", "max"]
"""Which way is good, by the key of the bar: a figure must reach its `min`, or stay at or below its `max`."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure is held against."""

    good: Good
    value: float

    def keeps(self, value: float) -> bool:
        """Whether a figure keeps to the bar; what is no number keeps to none."""
        return value >= self.value if self.good == "min" else value <= self.value
