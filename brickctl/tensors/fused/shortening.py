"""Fewer steps for the same bits: what the machine does in one step where a formula says two.

A step costs what its results cost on their way through the cache; half of them are gone from sums of deltas.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.tensors.fused.formula import LESS, LOADS, Code, Notes, Step, live

if TYPE_CHECKING:
    from collections.abc import Sequence


def shortened(notes: Notes, results: Sequence[tuple[int, Code]]) -> tuple[Notes, list[tuple[int, Code]], list[int]]:
    """The steps that results need, those results among them, and the inputs that are left, by their old numbers.

    Args:
        notes: a formula.
        results: steps, and how what they make is stored.
    """
    steps, _ = live([number for number, _ in results], notes)
    reads = Counter(read for number in steps for read in notes.steps[number].reads)
    reads.update(number for number, _ in results)
    short = Notes()
    short.limits, short.streams = notes.limits, notes.streams
    short.steps = [_joined(step, notes.steps, reads) for step in notes.steps]
    stored = [_stored(number, code, short.steps, reads) for number, code in results]
    steps, inputs = live([number for number, _ in stored], short)
    return short.only(steps, inputs), [(steps[number], code) for number, code in stored], inputs


def _joined(step: Step, steps: Sequence[Step], reads: Counter[int]) -> Step:
    """A step together with one before it, which nobody else reads."""
    once = [reads[read] == 1 for read in step.reads]
    if step.code is Code.SUBTRACT and once[0]:
        first = steps[step.reads[0]]
        if first.code in LOADS:
            return Step(LESS[first.code], step.reads[1:], first.index)
    if step.code is Code.MULTIPLY_NUMBER and once[0]:
        drawn = steps[step.reads[0]]
        if drawn.code is Code.DRAWN:  # times 1 or 0, and then times the number, of which nothing is rounded before
            return replace(drawn, numbers=step.numbers)
    if step.code is Code.ADD:
        for at in (1, 0):
            part = steps[step.reads[at]]
            if once[at] and part.code is Code.MULTIPLY_NUMBER:
                return Step(Code.ADD_TIMES, (step.reads[1 - at], *part.reads), numbers=part.numbers)
    return step


def _stored(number: int, code: Code, steps: Sequence[Step], reads: Counter[int]) -> tuple[int, Code]:
    """Which step makes what is stored."""
    step = steps[number]
    if code is Code.TOTAL and step.code is Code.MAGNITUDE and reads[number] == 1:
        return step.reads[0], Code.TOTAL_MAGNITUDE
    return number, code
