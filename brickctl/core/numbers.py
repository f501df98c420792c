"""Numbers of a manifest: a scalar, a gradient over depth, or a list of filters; resolved for one tensor at a time."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Any

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d+)(?:\.|$)")
_BEFORE_LAYERS = re.compile(r"(?:^|\.)(?:embed\w*|\w*_embed(?:ding)?s?|wte|wpe|\w*embeddings?)(?:\.|$)")


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor lies in, found by pattern; None outside the layers."""
    match = _LAYER.search(name)
    return None if match is None else int(match.group(1))


def depth_of(name: str, layers: int, ties: dict[str, str] | None = None) -> float:
    """Where a tensor lies between the first layer (0.0) and the last (1.0).

    Layer i of L lies at i/(L-1). What lies before the layers counts as 0, the final norm and an untied head as 1; a
    tied head follows the tensor that it shares.
    """
    name = (ties or {}).get(name, name)
    layer = layer_of(name)
    if layer is not None:
        return 0.0 if layers <= 1 else layer / (layers - 1)
    return 0.0 if _BEFORE_LAYERS.search(name) else 1.0


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number for every tensor."""

    value: float

    def at(self, name: str, depth: float) -> float | None:  # noqa: ARG002 - one signature for all kinds of number
        """The number for the tensor `name` at `depth` in [0, 1]."""
        return self.value

    def document(self) -> Any:
        """The number as JSON."""
        return self.value


@dataclass(frozen=True, slots=True)
class Gradient:
    """Numbers at equal distances over the depth, linear in between."""

    values: tuple[float, ...]

    def at(self, name: str, depth: float) -> float | None:  # noqa: ARG002 - one signature for all kinds of number
        """The number for the tensor `name` at `depth` in [0, 1]."""
        if len(self.values) == 1:
            return self.values[0]
        position = depth * (len(self.values) - 1)
        below = min(int(position), len(self.values) - 2)
        share = position - below
        return self.values[below] * (1 - share) + self.values[below + 1] * share

    def document(self) -> Any:
        """The number as JSON."""
        return list(self.values)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a list of filters: a glob over whole tensor names (None: every name) and what holds there."""

    filter: str | None
    value: Scalar | Gradient

    def matches(self, name: str) -> bool:
        """Whether the rule speaks of the tensor `name`."""
        return self.filter is None or fnmatch.fnmatchcase(name, self.filter)


@dataclass(frozen=True, slots=True)
class Filtered:
    """Rules in order; the first that matches wins."""

    rules: tuple[Rule, ...]

    def at(self, name: str, depth: float) -> float | None:
        """The number for the tensor `name` at `depth` in [0, 1]; None where no rule matches."""
        return next((rule.value.at(name, depth) for rule in self.rules if rule.matches(name)), None)

    def document(self) -> Any:
        """The number as JSON."""
        return [
            {"value": rule.value.document()}
            if rule.filter is None
            else {"filter": rule.filter, "value": rule.value.document()}
            for rule in self.rules
        ]


Number = Scalar | Gradient | Filtered
