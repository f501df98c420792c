"""Versions and ranges of versions: SemVer 2.0, with the ranges that Cargo has.

| range                   | means                                   |
| ----------------------- | --------------------------------------- |
| `1.2.3`, `^1.2.3`       | `>=1.2.3, <2.0.0`                       |
| `^0.2.3`                | `>=0.2.3, <0.3.0`                       |
| `^0.0.3`                | `=0.0.3`                                |
| `~1.2.3`, `~1.2`        | `>=1.2.3, <1.3.0`; `>=1.2.0, <1.3.0`    |
| `1.2.*`, `1.*`, `*`     | those numbers, then any                 |
| `=1.2`, `>1.2`, `<=1.2` | `1.2` stands for every `1.2.x`          |
| `>=1.2, <1.5`           | all of them                             |

A pre-release (`1.3.0-beta.1`) is in a range only where a comparator names a pre-release of the same three numbers.
Build metadata (`+x`) plays no part. Written here rather than taken from a library: the npm ranges of `semantic_version`
let `<2.0.0` match `2.0.0-a`, and importing it takes longer than all of `brickctl list`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBER = r"(?:0|[1-9][0-9]{0,17})"
_TAG = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_SUFFIX = rf"(?:-(?P<pre>{_TAG}))?(?:\+(?P<build>{_TAG}))?"
_VERSION = re.compile(rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER}){_SUFFIX}")
_COMPARATOR = re.compile(
    rf"(?P<op>\^|~|=|>=|<=|>|<|) *(?P<major>{_NUMBER})"
    rf"(?:\.(?P<minor>{_NUMBER}|[*xX])(?:\.(?P<patch>{_NUMBER}|[*xX]){_SUFFIX})?)?"
)
_LEADING_ZERO = re.compile(r"0[0-9]+")
_WILDCARDS = {"*", "x", "X"}
_LONGEST = 256
_RANGE_HINT = "ranges look like `^1.2`, `~1.2`, `1.*`, `=1.2.3` or `>=1.2, <2`"


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version, in SemVer's order; `build` breaks ties, so that the newest of several is always the same one."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()
    build: tuple[str, ...] = ()

    def __str__(self) -> str:
        pre = "-" + ".".join(self.pre) if self.pre else ""
        build = "+" + ".".join(self.build) if self.build else ""
        return f"{self.major}.{self.minor}.{self.patch}{pre}{build}"

    def __lt__(self, other: Version) -> bool:
        return (*self.precedence, self.build) < (*other.precedence, other.build)

    @property
    def release(self) -> tuple[int, int, int]:
        """The three numbers."""
        return self.major, self.minor, self.patch

    @property
    def precedence(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]:
        """What SemVer sorts by: a pre-release comes before its release; numbers in it come before words."""
        parts = ((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in self.pre)
        return self.release, not self.pre, tuple(parts)


def parse_version(text: str) -> Version | None:
    """Read a full version, `1.2.3`, `1.2.3-beta.1` or `1.2.3+build`; None when it is something else."""
    match = _VERSION.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or not _tag_is_sound(match["pre"]):
        return None
    release = int(match["major"]), int(match["minor"]), int(match["patch"])
    return Version(*release, pre=_parts(match["pre"]), build=_parts(match["build"]))


@dataclass(frozen=True, slots=True)
class Comparator:
    """One part of a range: an operator, and a version of which the last numbers may be left open."""

    op: str
    major: int
    minor: int | None
    patch: int | None
    pre: tuple[str, ...] = ()

    def __str__(self) -> str:
        given = [part for part in (self.major, self.minor, self.patch) if part is not None]
        text = ".".join(map(str, given)) + (".*" if self.op == "*" else "")
        return ("" if self.op == "*" else self.op) + text + ("-" + ".".join(self.pre) if self.pre else "")

    def matches(self, version: Version) -> bool:
        """Whether the version is on the right side, pre-releases being versions like any other."""
        if self.op in {"=", "*"}:
            return self._is_exactly(version)
        if self.op in {"<", "<="}:
            return version.precedence < self._floor or (self.op == "<=" and self._is_exactly(version))
        if self.op == ">":
            return version.precedence > self._floor and not self._is_exactly(version)
        return version.precedence >= self._floor and (self.op == ">=" or version.release < self._ceiling)

    def names_pre_release_of(self, version: Version) -> bool:
        """Whether this part asks for pre-releases of the same three numbers."""
        return bool(self.pre) and (self.major, self.minor, self.patch) == version.release

    @property
    def _floor(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]:
        return Version(self.major, self.minor or 0, self.patch or 0, self.pre).precedence

    @property
    def _ceiling(self) -> tuple[int, int, int]:
        """The first release beyond a caret or a tilde."""
        if self.minor is None or (self.op == "^" and self.major > 0):
            return self.major + 1, 0, 0
        if self.op == "~" or self.minor > 0 or self.patch is None:
            return self.major, self.minor + 1, 0
        return 0, 0, self.patch + 1

    def _is_exactly(self, version: Version) -> bool:
        numbers = zip((self.major, self.minor, self.patch), version.release, strict=True)
        same = all(wanted is None or wanted == found for wanted, found in numbers)
        return same and (self.patch is None or self.pre == version.pre)


@dataclass(frozen=True, slots=True)
class VersionRange:
    """A set of versions. `str` gives the normal form: a bare version has its caret, commas are followed by a space."""

    comparators: tuple[Comparator, ...] = ()

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Read a range; `VersionRange.parse(str(wanted)) == wanted`.

        Raises:
            UsageFault: not a range; the cause says which part.
        """
        if text.strip(" ") in _WILDCARDS:
            return cls()
        parts = text.split(",") if len(text) <= _LONGEST else ["(too long)"]
        return cls(tuple(_parse_comparator(part.strip(" "), text) for part in parts))

    def __str__(self) -> str:
        return ", ".join(map(str, self.comparators)) or "*"

    def contains(self, version: Version) -> bool:
        """Whether the version will do."""
        if version.pre and not any(comparator.names_pre_release_of(version) for comparator in self.comparators):
            return False
        return self.reaches(version)

    def reaches(self, version: Version) -> bool:
        """Whether the version lies between the bounds, pre-releases being versions like any other."""
        return all(comparator.matches(version) for comparator in self.comparators)


def newest(versions: Iterable[Version], wanted: VersionRange | None = None) -> Version | None:
    """The highest of the versions that are in the range; None when none is. Without a range every version counts."""
    return max((version for version in versions if wanted is None or wanted.contains(version)), default=None)


def _parse_comparator(part: str, whole: str) -> Comparator:
    match = _COMPARATOR.fullmatch(part)
    if match is None or not _tag_is_sound(match["pre"]):
        raise _range_fault(part, whole)
    minor, patch = match["minor"], match["patch"]
    wild = minor in _WILDCARDS or patch in _WILDCARDS
    if wild and (match["pre"] or match["build"] or (minor in _WILDCARDS and patch not in {None, *_WILDCARDS})):
        raise _range_fault(part, whole)
    op = match["op"] or ("*" if wild else "^")
    minor = None if minor in _WILDCARDS else minor
    patch = None if patch in _WILDCARDS else patch
    return Comparator(op, int(match["major"]), _int(minor), _int(patch), _parts(match["pre"]))


def _range_fault(part: str, whole: str) -> UsageFault:
    cause = None
    if not part:
        cause = "a part of it is empty"
    elif _LEADING_ZERO.search(part):
        cause = f"`{shown(part)}` has a number that begins with 0"
    elif " " in part:
        cause = f"`{shown(part)}` is more than one part; parts are separated by commas"
    elif part != whole:
        cause = f"`{shown(part)}` cannot be read"
    causes = () if cause is None else (cause,)
    return UsageFault(f"`{shown(whole)}` is not a range of versions", causes=causes, hint=_RANGE_HINT)


def _tag_is_sound(tag: str | None) -> bool:
    """SemVer: numbers in a pre-release have no leading zero; a short limit keeps them cheap to compare."""
    return all(not part.isdigit() or _LEADING_ZERO.fullmatch(part) is None for part in _parts(tag))


def _parts(tag: str | None) -> tuple[str, ...]:
    return tuple(tag.split(".")) if tag else ()


def _int(text: str | None) -> int | None:
    return None if text is None else int(text)
