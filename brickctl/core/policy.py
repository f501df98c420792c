"""`[policy]` as a value: rules that every brick must keep, and which bricks are excepted from which."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from brickctl.core.licenses import satisfies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.errors import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoff:
    """`exclude-newer`: what was published later may not be chosen. A moment, or an age counted from now."""

    text: str
    moment: datetime | None = None
    age: timedelta | None = None

    def at(self, now: datetime) -> datetime:
        """The moment, where it is `now`."""
        if self.moment is not None:
            return self.moment
        return now - (self.age or timedelta())


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """`[policy.exceptions.NAME]`: what holds for one brick instead of the rules. None: the rule itself.

    `any_age`: `exclude-newer = false`. `any_tokens`: `vocabulary = false`. `unsigned`: `signatures = "optional"`.
    """

    licenses: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    any_age: bool = False
    any_tokens: bool = False
    unsigned: bool = False


_NONE = Exemption()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The whole of `[policy]`.

    Attributes:
        formats: formats of weights; nothing but safetensors is read.
        base: `fits` or `declared`.
        licenses: SPDX names that are allowed; None allows all.
        sources: patterns of origins (`hf:acme/*`, `corp:*`, `path:*`); None allows all.
        exclude_newer: how new a new pin may be.
        signatures: `optional` or `required`.
        signers: files with public keys, relative to brick.toml, by the signer's name.
        exceptions: by the name of a brick, that of brick.toml or that of brick.lock.
        places: where each rule stands, and `policy` for all.
    """

    formats: tuple[str, ...] = ("safetensors",)
    base: str = "fits"
    licenses: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    exclude_newer: Cutoff | None = None
    signatures: str = "optional"
    signers: Mapping[str, str] = field(default_factory=dict)
    exceptions: Mapping[str, Exemption] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False)

    def for_brick(self, name: str) -> Exemption:
        """What is excepted for a brick."""
        return self.exceptions.get(name, _NONE)

    def place(self, rule: str) -> Place | None:
        """Where a rule stands."""
        return self.places.get(rule, self.places.get("policy"))

    def allows_license(self, name: str, license_name: str) -> bool:
        """Whether a brick may be under this licence: an expression of which one choice is allowed in all its parts."""
        allowed = self.for_brick(name).licenses or self.licenses
        return allowed is None or satisfies(license_name, allowed)

    def allows_source(self, name: str, origin: str) -> bool:
        """Whether a brick may come from there."""
        allowed = self.for_brick(name).sources or self.sources
        return allowed is None or any(fnmatchcase(origin, pattern) for pattern in allowed)

    def newest(self, name: str, now: datetime) -> datetime | None:
        """The moment after which nothing may be published that is chosen for a brick; None where there is none."""
        return None if self.exclude_newer is None or self.for_brick(name).any_age else self.exclude_newer.at(now)


def parse_moment(text: str) -> datetime | None:
    """Read `2026-11-20T00:00:00Z`, with another offset, or a date alone, which is its beginning in UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
