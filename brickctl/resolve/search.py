"""The search: PubGrub over what a catalogue offers.

`nab-resolver` does the searching. It proves that nothing will do, where `resolvelib` only tells what it tried last: the
proof is made of lines of brick.toml, needs, versions that are not there, and bricks that do not fit, and on those a
person can act.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nab_resolver.errors import ResolutionError, ResolutionTerminatedError
from nab_resolver.resolver import BaseProvider, Resolver
from nab_resolver.types import Incompatibility, IncompatibilityCause, RootRequirement, Term

from brickctl.errors import BrickctlError
from brickctl.resolve.choices import Choices
from brickctl.resolve.problem import Solution
from brickctl.resolve.proof import Proof, read_proof

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.resolve.problem import Candidate, Catalogue, Need, Wanted

MOST_ROUNDS = 3000
"""Steps of a search after which no end is in sight: real ones take some for each brick."""


class Unsolvable(Exception):
    """Nothing will do; `proof` says why."""

    def __init__(self, proof: Proof) -> None:
        super().__init__()
        self.proof = proof


def search(wanted: Sequence[Wanted], catalogue: Catalogue, base: str, rounds: int = MOST_ROUNDS) -> Solution:
    """Choose a version of each brick that is wanted, and of what these need.

    The same wishes and offers give the same choice, whatever the order of the wishes. A brick is chosen as its
    catalogue prefers, unless that contradicts another need or does not go with the `base`, which is chosen first.

    Raises:
        Unsolvable: there is no choice.
        BrickctlError: so many bricks contradict one another that no end is in sight; or what the catalogue raises.
    """
    ordered = sorted(wanted, key=lambda one: (one.need.brick != base, one.need.brick))
    provider = _Provider(catalogue, base)
    roots: list[RootRequirement[str, Candidate]] = [
        RootRequirement(one.need.brick, provider.choices(one.need), one) for one in ordered
    ]
    resolver: Resolver[str, Candidate] = Resolver(
        provider, range_type=Choices, max_iterations=rounds, root_version="project"
    )
    try:
        found = resolver.solve(roots)
    except ResolutionTerminatedError as error:
        hint = "ask for narrower ranges in brick.toml"
        raise BrickctlError("no end of the search for versions is in sight", hint=hint) from error
    except ResolutionError as error:
        if error.incompatibility is None:
            raise
        raise Unsolvable(read_proof(error.incompatibility, catalogue, base)) from None
    return Solution(chosen=dict(sorted(found.pins.items())), needed_by=found.edges)


class _Provider(BaseProvider[str, "Candidate"]):
    """What the library asks, answered from a catalogue."""

    def __init__(self, catalogue: Catalogue, base: str) -> None:
        self._catalogue = catalogue
        self._base = base
        self._decided: Mapping[str, Candidate] = {}
        self._misfits: list[Incompatibility[str, Candidate]] = []

    def choices(self, need: Need) -> Choices:
        """The candidates that a need admits."""
        return Choices(frozenset(filter(need.admits, self._catalogue.offers(need.brick).candidates)))

    def prioritize(self, package: str, *_: Any) -> tuple[bool, str]:
        """The base first, since all others are held against it."""
        return package != self._base, package

    def receive_partial_solution_hint(self, positive_ranges: Any, decisions: Mapping[str, Candidate]) -> None:  # noqa: ARG002
        """Which base the next choice is held against."""
        self._decided = decisions

    def choose_version(self, package: str, version_range: Any) -> Candidate | None:
        """The first candidate that fits; what does not is told to the library as a clause about it and the base."""
        base = self._decided.get(self._base)
        for candidate in self._catalogue.offers(package).candidates:
            if candidate not in version_range:
                continue
            if package == self._base or base is None or self._catalogue.refusal(candidate, base) is None:
                return candidate
            terms = [
                Term(package, Choices.singleton(candidate)),
                Term(self._base, Choices.singleton(base)),
            ]
            self._misfits.append(Incompatibility(terms, IncompatibilityCause.DEPENDENCY))
        return None

    def has_satisfying_version(self, package: str, version_range: Any) -> bool:
        """Whether a candidate is in the range."""
        return any(candidate in version_range for candidate in self._catalogue.offers(package).candidates)

    def consume_pending_clauses(self) -> list[Incompatibility[str, Candidate]]:
        """What did not fit since the last time."""
        misfits, self._misfits = self._misfits, []
        return misfits

    def get_dependencies(self, package: str, version: Candidate) -> Mapping[str, Choices]:  # noqa: ARG002 - it knows its brick
        """What a candidate needs."""
        needs: dict[str, Choices] = {}
        for need in version.needs:
            needs[need.brick] = needs.get(need.brick, Choices.full()) & self.choices(need)
        return needs

    def widen_decision(self, package: str, version: Candidate) -> None:
        """Nothing: candidates are few."""
