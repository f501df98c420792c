"""Licences that cannot all be kept by one model that is made from several bricks.

What is written here is what licences and their authors say of one another, not legal advice:

| together | why not |
| --- | --- |
| `CC-BY-ND-*` and any other brick | a merge is a derivative, and ND lets nobody share one |
| copyleft and non-commercial | GPL and CC-BY-SA let nobody add restrictions (gnu.org/licenses/license-list) |
| copyleft and use restrictions (`llama*`, `gemma`, OpenRAIL) | the restrictions on use would be added |
| `GPL-2.0-only` and Apache-2.0 | the patent clauses of Apache-2.0 are one (gnu.org/licenses/license-list#apache2) |
| `GPL-2.0-only` and GPL-3.0, LGPL-3.0, AGPL-3.0 | each wants the whole under itself |
| `CC-BY-SA-*` and GPL, except CC-BY-SA-4.0 into GPL-3.0 | each wants the whole under itself |
| two different `CC-BY-NC-SA-*` or one and `CC-BY-SA-*` | each wants the whole under itself |

Of expressions one choice counts: two licences conflict only where every choice does.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from brickctl.core.licenses import choices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_GPL = re.compile(r"A?GPL-[\d.]+(?:-only|-or-later|\+)?")
_GPL_2_ONLY = re.compile(r"GPL-2\.0(?:-only)?")
_GPL_3 = re.compile(r"(?:A|L)?GPL-3\.0.*")
_SHARE_ALIKE = re.compile(r"CC-BY(?:-NC)?-SA-[\d.]+")
_NON_COMMERCIAL = re.compile(r"CC-BY-NC-.*")
_NO_DERIVATIVES = re.compile(r"CC-BY(?:-NC)?-ND-.*")
_RESTRICTED_USE = re.compile(r"LicenseRef-(?:llama.*|gemma.*|.*rail.*|deepfloyd.*|.*-nc.*)", re.IGNORECASE)
_MOST_STEPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """Two bricks (`first`, `second`) whose licences cannot both be kept; `reason` is a sentence about the licences."""

    first: str
    second: str
    reason: str


def clashes(licenses: Mapping[str, str]) -> tuple[Clash, ...]:
    """What cannot be kept together among licences by the brick's name; empty where some choice of all goes.

    `unknown` clashes with nothing: nobody can say.
    """
    names = sorted(licenses)
    options = [tuple(dict.fromkeys(tuple(dict.fromkeys(way)) for way in choices(licenses[name]))) for name in names]
    doubtful = [ways for at, ways in enumerate(options) if not _is_harmless(at, options)]
    if _goes(doubtful, [], itertools.count()):
        return ()
    chosen = [ways[0] for ways in options]
    for at in (*range(len(options)), *range(len(options))):  # what is told is about choices that clash little
        others = [*chosen[:at], *chosen[at + 1 :]]
        chosen[at] = min(options[at], key=lambda way: sum(_between(way, other) is not None for other in others))
    pairs = itertools.combinations(zip(names, chosen, strict=True), 2)
    found = ((first, second, _between(ours, theirs)) for (first, ours), (second, theirs) in pairs)
    return tuple(Clash(first=first, second=second, reason=reason) for first, second, reason in found if reason)


def _is_harmless(at: int, options: list[tuple[tuple[str, ...], ...]]) -> bool:
    """Whether a brick has a choice that goes with whatever the others choose."""
    others = [way for number, ways in enumerate(options) if number != at for way in ways]
    return any(all(_between(way, other) is None for other in others) for way in options[at])


def _goes(options: list[tuple[tuple[str, ...], ...]], chosen: list[tuple[str, ...]], steps: Iterator[int]) -> bool:
    """Whether some choice goes for each brick beside those that are chosen; False where too many were tried."""
    if len(chosen) == len(options):
        return True
    for way in options[len(chosen)]:
        if next(steps) > _MOST_STEPS:
            return False
        if all(_between(way, other) is None for other in chosen) and _goes(options, [*chosen, way], steps):
            return True
    return False


@lru_cache(maxsize=10_000)
def _between(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str | None:
    """Why licences of two bricks cannot all be kept."""
    for one, other in itertools.product(ours, theirs):
        lower, upper = sorted((one, other))
        reason = _why(lower, upper) or _why(upper, lower)
        if reason is not None:
            return reason
    return None


@lru_cache(maxsize=10_000)
def _why(one: str, other: str) -> str | None:
    """Why the first licence does not go with the other; both ways are asked."""
    if _NO_DERIVATIVES.fullmatch(one):
        return f"{one} lets nobody share a derivative, and a merge is one"
    for words, pattern in (
        ("limits commercial use", _NON_COMMERCIAL),
        ("limits what a model is used for", _RESTRICTED_USE),
    ):
        if _is_copyleft(one) and pattern.fullmatch(other):
            return f"{one} lets nobody add restrictions, and {other} {words}"
    if _GPL_2_ONLY.fullmatch(one) and (other == "Apache-2.0" or _GPL_3.fullmatch(other)):
        return f"{one} and {other} each want the whole on their own terms"
    return f"{one} and {other} each want the whole under themselves" if _both_share_alike(one, other) else None


def _is_copyleft(name: str) -> bool:
    free = _SHARE_ALIKE.fullmatch(name) is not None and "-NC-" not in name
    return free or _GPL.fullmatch(name) is not None


def _both_share_alike(one: str, other: str) -> bool:
    if _SHARE_ALIKE.fullmatch(one) is None:
        return False
    if _SHARE_ALIKE.fullmatch(other):
        return one.rpartition("-")[0] != other.rpartition("-")[0]
    into_gpl_3 = one == "CC-BY-SA-4.0" and _GPL_3.fullmatch(other) is not None and not other.startswith("LGPL")
    return _GPL.fullmatch(other) is not None and not into_gpl_3
