"""Dials: the numbers of a merge step that a search may turn, in the words of the manifest.

A step with its dials is still a table of brick.toml, so what a search tries is what somebody could have written, is
checked by the same rules, and can be written back.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core import parameters
from brickctl.core.parameters import describe, each_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brickctl.core.lines import KeyPath
    from brickctl.core.parameters import Interval
    from brickctl.merging.method import Declared

WEIGHT = "weight"
HIGHEST_WEIGHT = 1.5
"""Up to where weights are looked for, as LoraHub does (arXiv 2307.13269); further, where a larger one stands."""

DIGITS = 3
"""After the point: what is tried is exactly what is written."""

_LEAST = 0.05
"""Of an interval without its lower end, such as that of a density, which is where a search begins."""

_OTHERS = ("op", "method", "bricks", "tokenizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """One number of a step.

    Attributes:
        name: what people call it: the brick whose weight it is, or a parameter, and of which brick or depth.
        kind: `weight`, or the name of the parameter.
        path: where it stands in the table of the step.
        low: the least that is tried,
        high: and the most.
        value: what stands there.
    """

    name: str
    kind: str
    path: KeyPath
    low: float
    high: float
    value: float

    def at(self, share: float) -> float:
        """The number at a share of the way from `low` to `high`, as it would be written."""
        return round(self.low + share * (self.high - self.low), DIGITS)

    @property
    def share(self) -> float:
        """Where `value` lies between `low` and `high`, in [0, 1]."""
        return min(1.0, max(0.0, (self.value - self.low) / (self.high - self.low)))


def by_method(step: Mapping[str, Any], method: Declared) -> dict[str, Any]:
    """The step with another method: its bricks and their weights, and those of its parameters that both have.

    Whether the method can take these bricks is found out when the step is read.
    """
    known = [parameter.name for parameter in describe(method.method)]
    kept = {key: value for key, value in step.items() if key in (*_OTHERS, *known)}
    return {**kept, "method": method.name, "bricks": _bricks_for(step["bricks"], method)}


def _bricks_for(bricks: Any, method: Declared) -> Any:
    """The bricks in a form that the method takes."""
    entries = [{"brick": name, WEIGHT: weight} for name, weight in bricks.items()] if isinstance(bricks, dict) else []
    entries = entries or [entry if isinstance(entry, dict) else {"brick": entry} for entry in bricks]
    if not method.weighted:
        return [entry["brick"] for entry in entries]
    if isinstance(bricks, dict) and "permutation" in method.laws:
        return dict(bricks)
    own = ("brick", "statistics", WEIGHT, *each_of(method.method))
    return [{key: value for key, value in entry.items() if key in own} for entry in entries]


def with_dials(
    step: Mapping[str, Any], method: Declared, *, points: int = 1, only: Sequence[str] = ()
) -> tuple[dict[str, Any], tuple[Dial, ...]]:
    """The step with every number written out that is a dial, and the dials.

    Dials are the weights of bricks, and those parameters of the method that may vary and have two bounds. A number
    over depth, or a list of rules, has a dial for each of its numbers.

    Args:
        step: the table as it stands in brick.toml, which is one that can be read.
        method: that it names.
        points: of each weight that is one number, how many over depth it becomes.
        only: the kinds of dials that are wanted; all, where none is named.
    """
    filled = copy.deepcopy(dict(step))
    bounds = {name: one for name, one in parameters.bounded(method.method).items() if not only or name in only}
    if method.weighted and (not only or WEIGHT in only):
        _fill_weights(filled["bricks"], points)
    defaults = {parameter.name: parameter.default for parameter in describe(method.method)}
    for name in bounds:
        filled.setdefault(name, defaults[name])
    found = [*_weights(filled["bricks"])] if method.weighted and (not only or WEIGHT in only) else []
    for name, interval in bounds.items():
        found += _parameter(filled, name, interval)
    return filled, tuple(found)


def turned(step: Mapping[str, Any], dials: Iterable[Dial], values: Iterable[float]) -> dict[str, Any]:
    """The step with other numbers in the places of its dials."""
    changed = copy.deepcopy(dict(step))
    for dial, value in zip(dials, values, strict=True):
        *around, last = dial.path
        place: Any = changed
        for key in around:
            place = place[key]
        place[last] = value
    return changed


def _fill_weights(bricks: Any, points: int) -> None:
    if isinstance(bricks, dict):
        bricks.update({name: _over_depth(weight, points) for name, weight in bricks.items()})
        return
    for entry in bricks:
        entry[WEIGHT] = _over_depth(entry.get(WEIGHT, 1.0), points)


def _over_depth(number: Any, points: int) -> Any:
    return [number] * points if points > 1 and not isinstance(number, list) else number


def _weights(bricks: Any) -> Iterator[Dial]:
    places: list[tuple[str, KeyPath, Any]]
    if isinstance(bricks, dict):
        places = [(name, ("bricks", name), weight) for name, weight in bricks.items()]
    else:
        places = [(entry["brick"], ("bricks", at, WEIGHT), entry[WEIGHT]) for at, entry in enumerate(bricks)]
    for name, path, weight in places:
        for more, inner, value in _numbers(weight):
            low, high = min(0.0, 2 * value), HIGHEST_WEIGHT if value < HIGHEST_WEIGHT else 2 * value
            yield Dial(name=name + more, kind=WEIGHT, path=(*path, *inner), low=low, high=high, value=float(value))


def _parameter(step: Mapping[str, Any], name: str, interval: Interval) -> Iterator[Dial]:
    """The dials of a parameter, and of what single bricks have instead."""
    places: list[tuple[str, KeyPath, Any]] = [(name, (name,), step[name])]
    for at, entry in enumerate(step["bricks"] if isinstance(step["bricks"], list) else ()):
        if isinstance(entry, dict) and name in entry:
            places.append((f"{name} of {entry['brick']}", ("bricks", at, name), entry[name]))
    low = interval.low + (_LEAST * (interval.high - interval.low) if interval.open_below else 0.0)
    for words, path, number in places:
        for more, inner, value in _numbers(number):
            place = (*path, *inner)
            least = min(low, value)
            yield Dial(name=words + more, kind=name, path=place, low=least, high=interval.high, value=float(value))


def _numbers(number: Any) -> Iterator[tuple[str, KeyPath, float]]:
    """Each number of a scalar, of numbers over depth, or of rules: what to add to its name and to its path."""
    if not isinstance(number, list):
        yield "", (), number
        return
    for at, entry in enumerate(number):
        if isinstance(entry, dict):
            rule = f" in {entry['filter']}" if "filter" in entry else " elsewhere"
            yield from ((rule + more, (at, "value", *inner), value) for more, inner, value in _numbers(entry["value"]))
        else:
            yield f" ({at + 1} of {len(number)})", (at,), entry
