"""Instances: texts of which each needs exactly one of several functionalities."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """`rows` has the tokens of each, `labels_of` the number of its label in `labels`."""

    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    labels_of: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many instances each label has."""
        return tuple(self.labels_of.count(label) for label in range(len(self.labels)))

    @property
    def tokens(self) -> int:
        """How many tokens all of them have together."""
        return sum(map(len, self.rows))
