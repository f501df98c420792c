"""What there is to choose from, what is asked for, and why something will not do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.versions import Version, VersionRange
    from brickctl.errors import BrickctlError, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """That a brick is asked for: its name, in which words, and what of it will do.

    `origin`, `versions` and `commit` say what will do, where they are given.
    """

    brick: str
    words: str
    origin: str | None = None
    versions: VersionRange | None = None
    commit: str | None = None

    def admits(self, candidate: Candidate) -> bool:
        """Whether this candidate will do, as far as its version goes."""
        if self.origin is not None and candidate.origin != self.origin:
            return False
        if self.commit is not None:
            return candidate.commit == self.commit
        if self.versions is None:
            return True
        return candidate.version is not None and self.versions.contains(candidate.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A need of the project itself, and the line of brick.toml that says so."""

    need: Need
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One version of a brick. `label` is how sentences call it, and tells the candidates of a brick apart.

    `origin` is where it comes from, whatever the version: `corp:acme/sql`, `hf:acme/sql-lora`.
    """

    brick: str
    label: str
    origin: str = field(default="", compare=False)
    version: Version | None = field(default=None, compare=False)
    commit: str | None = field(default=None, compare=False)
    needs: tuple[Need, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A version that exists and may not be chosen, and why: `yanked`, `published after ...`."""

    label: str
    version: Version | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What there is of one brick: the candidates, best first, and the versions that are withheld.

    `source` says in a sentence who offers, `registry `corp``; or, where it `is_absent`, why there is nothing.
    """

    source: str
    candidates: tuple[Candidate, ...]
    withheld: tuple[Withheld, ...] = ()
    is_absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a candidate does not go with the base: the error that using it would be."""

    error: BrickctlError

    @property
    def reason(self) -> str:
        """In one sentence."""
        return "; ".join((self.error.message, *self.error.causes))


class Catalogue(Protocol):
    """Someone who knows bricks. Each answer stays the same while one search goes on."""

    def offers(self, brick: str) -> Offers:
        """What there is of a brick."""

    def refusal(self, candidate: Candidate, base: Candidate) -> Refusal | None:
        """Why a candidate does not go with the base; None where it does. Asked late: it may cost a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The chosen candidates by brick, and which brick needs which."""

    chosen: dict[str, Candidate]
    needed_by: tuple[tuple[str, str], ...]

    def chain(self, start: str) -> Sequence[str] | None:
        """Bricks that need one another in a circle from `start` back to it, if there is one."""
        below: dict[str, list[str]] = {}
        for asker, needed in self.needed_by:
            below.setdefault(asker, []).append(needed)
        trails = [[start]]
        seen = {start: None}
        while trails:
            trail = trails.pop(0)
            for needed in below.get(trail[-1], ()):
                if needed == start:
                    return [*trail, start]
                if needed not in seen:
                    seen[needed] = None
                    trails.append([*trail, needed])
        return None
