"""Why nothing will do: the facts that a proof of the search rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from nab_resolver.types import Incompatibility, IncompatibilityCause

from brickctl.resolve.problem import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.resolve.choices import Choices
    from brickctl.resolve.problem import Candidate, Catalogue, Need, Refusal

    Clause = Incompatibility[str, Candidate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Versions of one brick that need the same of another."""

    candidates: tuple[Candidate, ...]
    need: Need


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfitting:
    """A version of a brick that does not go with a version of the base."""

    candidate: Candidate
    base: Candidate
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All facts of a proof, each kind in the order of names and versions.

    Attributes:
        wishes: the lines of brick.toml that take part.
        needs: which bricks need which.
        misfits: which do not go with the base.
        missing: bricks of which no version, or none that is left, is in what is asked for.
    """

    wishes: tuple[Wanted, ...]
    needs: tuple[Asking, ...]
    misfits: tuple[Misfitting, ...]
    missing: tuple[str, ...]


def read_proof(conclusion: Clause, catalogue: Catalogue, base: str) -> Proof:
    """Collect the facts below the conclusion of a failed search."""
    facts = [node for node in conclusion.walk() if node.cause is not IncompatibilityCause.DERIVED]
    wishes = {node.origin for node in facts if isinstance(node.origin, Wanted)}
    clauses = [node for node in facts if node.cause is IncompatibilityCause.DEPENDENCY]
    pairs = [node for node in clauses if all(term.is_positive() for term in node.terms)]
    needs = [asking for node in clauses if node not in pairs for asking in _needs(node)]
    empty = [node.terms[0].package for node in facts if node.cause is IncompatibilityCause.NO_VERSIONS]
    empty += [asking.need.brick for asking in needs if not _is_offered(catalogue, asking.need)]
    return Proof(
        wishes=tuple(sorted(wishes, key=lambda one: (one.need.brick != base, one.need.brick))),
        needs=tuple(sorted(needs, key=lambda one: (one.candidates[0].label, one.need.words))),
        misfits=tuple(sorted(_misfits(pairs, catalogue, base), key=lambda one: _rank(one.candidate))),
        missing=tuple(sorted(dict.fromkeys(empty))),
    )


def _needs(clause: Clause) -> Iterator[Asking]:
    asking, needed = clause.terms
    grouped: dict[Need, list[Candidate]] = {}
    for candidate in _named(asking.constraint):
        for need in candidate.needs:
            if need.brick == needed.package:
                grouped.setdefault(need, []).append(candidate)
    for need, candidates in grouped.items():
        yield Asking(candidates=tuple(candidates), need=need)


def _misfits(pairs: list[Clause], catalogue: Catalogue, base: str) -> Iterator[Misfitting]:
    for clause in pairs:
        terms = {term.package: _named(term.constraint) for term in clause.terms}
        bases = terms.pop(base, [])
        for candidate in (one for candidates in terms.values() for one in candidates):
            for each in bases:
                refusal = catalogue.refusal(candidate, each)
                if refusal is not None:
                    yield Misfitting(candidate=candidate, base=each, refusal=refusal)


def _named(choices: object) -> list[Candidate]:
    """The candidates of a term; the search knows no other kind of set."""
    return sorted(cast("Choices", choices).named, key=_rank)


def _rank(candidate: Candidate) -> tuple[str, bool, object, str]:
    version = candidate.version
    return candidate.brick, version is None, () if version is None else version, candidate.label


def _is_offered(catalogue: Catalogue, need: Need) -> bool:
    return any(map(need.admits, catalogue.offers(need.brick).candidates))
