"""A proof in sentences that a person can act on, and what would help, which was tried."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.core.versions import VersionRange
from brickctl.errors import BrickctlError, Conflict
from brickctl.resolve.search import Unsolvable, search

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.resolve.problem import Candidate, Catalogue, Offers, Solution, Wanted
    from brickctl.resolve.proof import Proof

_MOST_SHOWN = 6
_REMEDY_ROUNDS = 300


def conflict(proof: Proof, wanted: Sequence[Wanted], catalogue: Catalogue, base: str) -> BrickctlError:
    """The error about a search that found nothing, to be raised by the caller.

    Where all is said by one brick that does not fit, that is the error.
    """
    asking = [one for one in proof.wishes if one.need.brick != base] or list(proof.wishes)
    hint = next(_remedies(proof, wanted, catalogue, base), None)
    if len(proof.misfits) == 1 and not proof.needs and not proof.missing:
        error = proof.misfits[0].refusal.error
        error.hint = hint or error.hint
        return error
    place = asking[0].place if len(asking) == 1 else None
    causes = (*_wishes(proof), *_needs(proof), *_misfits(proof), *_missing(proof, catalogue))
    return Conflict(_message(proof, asking), causes=causes, place=place, hint=hint or _helpless(asking))


def refuse_circles(solution: Solution) -> None:
    """Make sure that no brick needs itself, be it through others: nobody could say which one is applied first.

    Raises:
        Conflict: bricks need one another in a circle.
    """
    for name in solution.chosen:
        chain = solution.chain(name)
        if chain is not None:
            labels = [solution.chosen[brick].label for brick in chain]
            causes = tuple(f"{one} needs {other}" for one, other in itertools.pairwise(labels))
            hint = "ask whoever publishes them: what a brick was made on cannot have been made on it"
            raise Conflict(f"{labels[0]} needs itself", causes=causes, hint=hint)


def _message(proof: Proof, asking: Sequence[Wanted]) -> str:
    names = [f"`{one.need.brick}`" for one in asking]
    if len(names) > 1:
        return f"{_and(names)} cannot be had together"
    if proof.misfits and not proof.needs:
        return f"no version of {names[0]} that is asked for goes with the base"
    return f"{names[0]} cannot be had"


def _wishes(proof: Proof) -> Iterator[str]:
    for one in proof.wishes:
        place = "" if one.place is None else f" ({one.place})"
        yield f"`{one.need.brick}` is asked for as {one.need.words}{place}"


def _needs(proof: Proof) -> Iterator[str]:
    for asking in proof.needs:
        verb = "needs" if len(asking.candidates) == 1 else "need"
        yield f"{together(asking.candidates)} {verb} {asking.need.words}"


def _misfits(proof: Proof) -> Iterator[str]:
    several = len({one.base for one in proof.misfits}) > 1
    for one in proof.misfits:
        with_base = f" with {one.base.label}" if several else ""
        yield f"{one.candidate.label}{with_base}: {one.refusal.reason}"


def _missing(proof: Proof, catalogue: Catalogue) -> Iterator[str]:
    for brick in proof.missing:
        yield stock(catalogue.offers(brick))


def stock(offers: Offers) -> str:
    """What there is of a brick, in a sentence: `registry `corp` has acme/sql 1.0.0, and 1.1.0 (yanked)`."""
    if offers.is_absent:
        return offers.source
    shown = offers.candidates[:_MOST_SHOWN]
    parts = [] if not shown else [together(shown)]
    if len(offers.candidates) > _MOST_SHOWN:
        parts.append(f"{len(offers.candidates) - _MOST_SHOWN} more")
    parts += [f"{one.label} ({one.reason})" for one in offers.withheld[:_MOST_SHOWN]]
    if len(offers.withheld) > _MOST_SHOWN:
        parts.append(f"{len(offers.withheld) - _MOST_SHOWN} more that may not be chosen")
    return f"{offers.source} has {_and(parts) if parts else 'no version'}"


def together(candidates: Sequence[Candidate]) -> str:
    """Several versions of one brick: `acme/sql 1.0.0, 1.1.0 and 2.0.0`."""
    first, *others = candidates
    return _and([first.label, *(one.label.rpartition(" ")[2] for one in others)])


def _remedies(proof: Proof, wanted: Sequence[Wanted], catalogue: Catalogue, base: str) -> Iterator[str]:
    """Changes of one line that help: what a commit must be, or another range, by trying."""
    asked = {one.need.brick: one for one in proof.wishes}
    for asking in proof.needs:
        one = asked.get(asking.need.brick)
        if one is not None and asking.need.commit is not None:
            yield f'write `revision = "{asking.need.commit}"` for `{one.need.brick}`{_at(one)}'
    for one in proof.wishes:
        if one.need.versions is None:
            continue
        free = [
            replace(each, need=replace(each.need, versions=VersionRange())) if each is one else each for each in wanted
        ]
        try:
            chosen = search(free, catalogue, base, rounds=_REMEDY_ROUNDS).chosen[one.need.brick]
        except (Unsolvable, BrickctlError):
            continue
        yield f"`{chosen.label.replace(' ', '@^')}` for `{one.need.brick}`{_at(one)} would do"


def _helpless(asking: Sequence[Wanted]) -> str:
    if len(asking) == 1:
        return f"ask for another range, or remove `{asking[0].need.brick}`; nothing was changed"
    return f"remove one of them, or ask for other ranges{_at(asking[-1])}; nothing was changed"


def _at(one: Wanted) -> str:
    return "" if one.place is None else f" in {one.place}"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
