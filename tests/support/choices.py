"""Every merge method with each of its parameters at its ends and alternatives: rows for tests that hold for all."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest

from brickctl.core.parameters import Interval
from brickctl.merging.method import methods

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.merging.method import Declared

BRICKS = ("first", "second", "third")
TINY, HUGE = 1e-9, 1e6
MANY = 1000
"""What stands for an end that does not belong to an interval, and for one that is infinite."""


def choices(declared: Declared) -> Iterator[str]:
    """TOML of parameters: none, then each that has ends or alternatives at each of them."""
    yield ""
    for name, hint in get_type_hints(declared.method, include_extras=True).items():
        for value in _extremes(hint):
            yield f"{name} = {json.dumps(value)}"


def _extremes(hint: Any) -> Sequence[Any]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    if hint is bool:
        return False, True
    interval = next((mark for mark in get_args(hint) if isinstance(mark, Interval)), None)
    if get_origin(hint) is not Annotated or interval is None:
        return ()
    low = interval.low + TINY if interval.open_below else interval.low
    if get_args(hint)[0] is int:
        return int(low), int(min(interval.high, MANY))
    return low, min(interval.high, HUGE)


@cache
def table() -> tuple[Any, ...]:
    rows = ((declared, chosen) for declared in methods().values() for chosen in choices(declared))
    return tuple(pytest.param(*row, id=f"{row[0].name} {row[1]}".strip()) for row in rows)


def every_choice() -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("declared", "chosen"), table())


def fitting(declared: Declared) -> int:
    """How many bricks a test gives: two where that is allowed."""
    return max(declared.least, min(declared.most, 2))


def entry(declared: Declared, name: str, weight: float) -> str:
    """TOML of one brick, with the statistics that `manifest` makes up for it where the method asks for some."""
    known = "" if declared.statistic is None else f', statistics = "{name}-{declared.statistic}"'
    return f'{{ brick = "{name}", weight = {weight}{known} }}'


def step(declared: Declared, weights: Sequence[float], chosen: str = "", named: Sequence[str] = BRICKS) -> str:
    """TOML of a merge of as many bricks as there are weights."""
    names = named[: len(weights)]
    if declared.weighted:
        pairs = zip(names, weights, strict=True)
        bricks = ", ".join(entry(declared, name, weight) for name, weight in pairs)
    else:
        bricks = ", ".join(f'"{name}"' for name in names)
    more = f", {chosen}" if chosen else ""
    return f'{{ op = "merge", method = "{declared.name}", bricks = [{bricks}]{more} }}'
