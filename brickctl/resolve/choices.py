"""Sets of candidates: what a range of versions is once it is known which versions there are.

Intervals would not do: `^1.2` holds every release up to 2.0 and none of the pre-releases between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nab_resolver.types import RangeRelation

if TYPE_CHECKING:
    from brickctl.resolve.problem import Candidate


_RELATIONS = {(relation.is_subset, relation.is_disjoint): relation for relation in RangeRelation}


@dataclass(frozen=True, slots=True)
class Choices:
    """The candidates that are `named`, or, where these are left out, all others."""

    named: frozenset[Candidate] = frozenset()
    are_left_out: bool = False

    @classmethod
    def empty(cls) -> Choices:
        """None."""
        return cls()

    @classmethod
    def full(cls) -> Choices:
        """All that there are."""
        return cls(are_left_out=True)

    @classmethod
    def singleton(cls, candidate: Candidate) -> Choices:
        """One."""
        return cls(frozenset({candidate}))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it; all but some are never nothing, since nobody knows all."""
        return not self.named and not self.are_left_out

    def __contains__(self, candidate: Candidate) -> bool:
        return (candidate in self.named) != self.are_left_out

    def __invert__(self) -> Choices:
        return Choices(self.named, not self.are_left_out)

    def __and__(self, other: object) -> Choices:
        if not isinstance(other, Choices):
            return NotImplemented
        if self.are_left_out and other.are_left_out:
            return Choices(self.named | other.named, are_left_out=True)
        if self.are_left_out:
            return Choices(other.named - self.named)
        return Choices(self.named - other.named if other.are_left_out else self.named & other.named)

    def __or__(self, other: object) -> Choices:
        return ~(~self & ~other) if isinstance(other, Choices) else NotImplemented

    def __sub__(self, other: object) -> Choices:
        return self & ~other if isinstance(other, Choices) else NotImplemented

    def is_subset(self, other: Choices) -> bool:
        """Whether all of these are among the others."""
        return (self - other).is_empty

    def is_superset(self, other: Choices) -> bool:
        """Whether all others are among these."""
        return other.is_subset(self)

    def is_disjoint(self, other: Choices) -> bool:
        """Whether they have nothing in common."""
        return (self & other).is_empty

    def relation(self, other: Choices) -> RangeRelation:
        """How these lie to the others."""
        return _RELATIONS[self.is_subset(other), self.is_disjoint(other)]
