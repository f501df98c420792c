"""The steps of an analysis: what is still to do, how long that takes, and doing it, each step kept when it is done."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import unwatched
from brickctl.workflows.analyzing.output import finite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from brickctl.analysis.batches import Watch
    from brickctl.core.ports import Events
    from brickctl.workflows.analyzing.pieces import Pieces

PLAIN, COUNTED, CUT = "plain", "counted", "cut"
"""What a forward pass does beside itself: nothing, statistics of activations, a choice of neurons for each token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A piece of an analysis.

    Attributes:
        measurement: which one it belongs to.
        key: everything that its result follows from.
        tokens: how many its forward passes read.
        make: does it; hears of the tokens that are read, and gives a value of JSON.
        passes: what its forward passes do beside themselves.
        uncounted: work that is no forward pass, of which nobody knows before how long it takes; "" where there is none.
    """

    measurement: str
    key: Mapping[str, Any]
    tokens: int
    make: Callable[[Watch], Any]
    passes: str = PLAIN
    uncounted: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a step, and how many seconds it took when it was done."""

    value: Any
    seconds: float


def unfinished(steps: Iterable[Step], pieces: Pieces) -> tuple[Step, ...]:
    """The steps that no earlier run has finished."""
    return tuple(step for step in steps if pieces.get(step.key) is None)


def seconds_needed(steps: Iterable[Step], speeds: Mapping[str, float]) -> dict[str, float]:
    """How long some steps take, by measurement; `speeds` are tokens a second by what passes do beside themselves."""
    needed: dict[str, float] = {}
    for step in steps:
        needed[step.measurement] = needed.get(step.measurement, 0.0) + step.tokens / speeds[step.passes]
    return needed


def run(steps: Sequence[Step], pieces: Pieces, events: Events) -> None:
    """Do what is unfinished, in order, with a bar for each measurement; each step is kept at once."""
    todo = unfinished(steps, pieces)
    for measurement in dict.fromkeys(step.measurement for step in todo):
        mine = [step for step in todo if step.measurement == measurement]
        events.start(measurement, sum(step.tokens for step in mine), "tokens")
        for step in mine:
            pieces.keep(step.key, timed(partial(step.make, partial(events.advance, measurement))))
        events.finish(measurement)


def timed(make: Callable[[], Any]) -> dict[str, Any]:
    """A value for a piece, and the seconds that it took."""
    begun = time.perf_counter()
    value = finite(make())
    return {"value": value, "seconds": round(time.perf_counter() - begun, 3)}


def result(step: Step, pieces: Pieces) -> Done:
    """What came of a step that is finished; it is done again if somebody has removed that by now."""
    stored = pieces.made(step.key, partial(timed, partial(step.make, unwatched)))
    return Done(stored["value"], stored["seconds"])


def losses_of(stored: Sequence[float | None]) -> tuple[float, ...]:
    """Losses as they were before they became JSON, in which one that is not finite is null."""
    return tuple(math.nan if loss is None else loss for loss in stored)


def tell(events: Events, todo: Sequence[Step], speeds: Mapping[str, float], what: str, kept: int) -> None:
    """Say how long it takes before it begins, by measurement."""
    needed = seconds_needed(todo, speeds)
    each = ", ".join(f"{measurement} {in_words(seconds)}" for measurement, seconds in needed.items())
    beside = ", ".join(dict.fromkeys(step.uncounted for step in todo if step.uncounted))
    more = f", and {beside}" if beside else ""
    before = f"; {kept} steps were finished before" if kept else ""
    events.note(f"{what}: this takes about {in_words(sum(needed.values()))} ({each}){more}{before}")


def in_words(seconds: float) -> str:
    """A time that nobody knows to the second: `20 s`, `4 min`, `2.5 h`."""
    if seconds < 90:  # noqa: PLR2004 - the next unit would say less
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
