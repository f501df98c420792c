"""Formulas: element-wise arithmetic, written down step by step before it is done.

A kernel that has a formula says what it computes by doing it to values that only take notes. Several kernels, one on
top of the other, become one list of steps, of which equal ones are done once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brickctl.core.nodes import Op
    from brickctl.core.regions import Region
    from brickctl.tensors.arrays import Array

Limits = tuple[float, float, float]
"""Magnitudes above the first are kept; of those not above the second only so many, unless the third is negative."""


class Code(IntEnum):
    """The steps that the machine knows, by its numbers."""

    LOAD_F64 = 0
    LOAD_F32 = 1
    LOAD_F16 = 2
    LOAD_BF16 = 3
    LESS_F64 = 4
    LESS_F32 = 5
    LESS_F16 = 6
    LESS_BF16 = 7
    STORE_F64 = 8
    STORE_F32 = 9
    STORE_F16 = 10
    STORE_BF16 = 11
    TOTAL = 12
    TOTAL_MAGNITUDE = 13
    SORT_OUT = 14
    ADD = 15
    SUBTRACT = 16
    MULTIPLY = 17
    DIVIDE = 18
    ADD_TIMES = 19
    ADD_NUMBER = 20
    MULTIPLY_NUMBER = 21
    DIVIDE_NUMBER = 22
    MAGNITUDE = 23
    LARGEST = 24
    DRAWN = 25
    ELECTED = 26


LOADS = frozenset({Code.LOAD_F64, Code.LOAD_F32, Code.LOAD_F16, Code.LOAD_BF16})
LESS = {code: Code(code + len(LOADS)) for code in LOADS}
"""For each of them what subtracts another value from what it reads."""

_READ = LOADS | {*LESS.values()}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a formula.

    Attributes:
        code: what is done.
        reads: the steps to whose results it is done.
        index: of the input, the limits or the stream that it needs; how an election goes.
        numbers: that it needs.
    """

    code: Code
    reads: tuple[int, ...] = ()
    index: int = -1
    numbers: tuple[float, ...] = ()

    @property
    def has_input(self) -> bool:
        """Whether it reads the input of number `index`."""
        return self.code in _READ


class Notes:
    """The steps of a formula, each once, and what they need for each block.

    Attributes:
        steps: in the order in which they can be done.
        limits: for each step that keeps the largest elements, what tells them in a block.
        streams: for each step that draws, the two words of the key of its stream, and the limit of what is kept.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.limits: list[Callable[[Region], Limits]] = []
        self.streams: list[tuple[int, int, int]] = []
        self._known: dict[tuple[Step, bytes], int] = {}

    def take(self, step: Step) -> Value:
        """The value that a step makes; each step is done once."""
        name = step, struct.pack(f"<{len(step.numbers)}d", *step.numbers)  # 0.0 and -0.0 are equal, and not the same
        if name not in self._known:
            self._known[name] = len(self.steps)
            self.steps.append(step)
        return Value(self, self._known[name])

    def only(self, steps: Mapping[int, int], inputs: Sequence[int]) -> Notes:
        """These steps, by their old numbers with their new ones, and inputs, by their old numbers."""
        found = Notes()
        found.limits, found.streams = self.limits, self.streams
        for number in steps:
            step = self.steps[number]
            index = inputs.index(step.index) if step.has_input else step.index
            found.steps.append(replace(step, reads=tuple(steps[read] for read in step.reads), index=index))
        return found


def live(results: Iterable[int], notes: Notes) -> tuple[dict[int, int], list[int]]:
    """The steps that some results need, with new numbers, and the inputs that those read."""
    waiting, found = list(results), set[int]()
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += notes.steps[number].reads
    steps = {number: place for place, number in enumerate(sorted(found))}
    return steps, sorted({notes.steps[number].index for number in steps if notes.steps[number].has_input})


@dataclass(frozen=True, slots=True)
class Value:
    """What a step makes: fp64, one for each element."""

    notes: Notes
    number: int

    def __add__(self, other: Value | float) -> Value:
        return self._with(Code.ADD, Code.ADD_NUMBER, other)

    def __sub__(self, other: Value) -> Value:
        return self.notes.take(Step(Code.SUBTRACT, (self.number, other.number)))

    def __mul__(self, other: Value | float) -> Value:
        return self._with(Code.MULTIPLY, Code.MULTIPLY_NUMBER, other)

    def __truediv__(self, other: Value | float) -> Value:
        return self._with(Code.DIVIDE, Code.DIVIDE_NUMBER, other)

    def magnitude(self) -> Value:
        """The value without its sign."""
        return self.notes.take(Step(Code.MAGNITUDE, (self.number,)))

    def drawn(self, stream: str, limit: int) -> Value:
        """The value times 1 where the draw of an element from a stream is below a limit, else times 0."""
        key = bytes.fromhex(stream)
        self.notes.streams.append((int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little"), limit))
        return self.notes.take(Step(Code.DRAWN, (self.number,), 3 * (len(self.notes.streams) - 1), numbers=(1.0,)))

    def largest(self, limits: Callable[[Region], Limits]) -> Value:
        """The value where it is among the largest, else 0; `limits` says which those are in a block of whole rows."""
        self.notes.limits.append(limits)
        return self.notes.take(Step(Code.LARGEST, (self.number,), 3 * (len(self.notes.limits) - 1)))

    def _with(self, values: Code, numbers: Code, other: Value | float) -> Value:
        if isinstance(other, Value):
            return self.notes.take(Step(values, (self.number, other.number)))
        return self.notes.take(Step(numbers, (self.number,), numbers=(float(other),)))


def elected(
    values: Sequence[Value], weights: Sequence[float], shares: Sequence[float] | None, *, weighs: bool
) -> Value:
    """0 + sum_i a_i w_i x_i, divided by sum_i a_i s_i where there are shares, all of one sign.

    a_i is 1 where v_i is not 0 and is above 0 exactly where v_1 + v_2 + ... is not below it, else 0; v_i is w_i x_i if
    it `weighs`, else x_i. The divisor is at least the smallest share; at most the largest, where they are below 0.
    """
    bound = 0.0 if shares is None else min(shares) if min(shares) > 0.0 else max(shares)
    numbers = tuple(map(float, (*weights, *(shares or [0.0] * len(weights)), bound)))
    index = _WEIGHS * weighs + _DIVIDES * (shares is not None)
    return values[0].notes.take(Step(Code.ELECTED, tuple(value.number for value in values), index, numbers))


_WEIGHS, _DIVIDES = 1, 2
"""As in machine.c."""


Terms = Callable[["Sequence[Value]", Notes], "Sequence[Value]"]
"""From the inputs of a statistic, each one element, what is added up over all elements."""


class Formula(Protocol):
    """What a kernel does to one element of each input."""

    def __call__(
        self, inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
    ) -> Value | None:
        """The result, from the inputs of which the kernel gets blocks, and those that it gets whole.

        None where the formula does not cover these arguments: the kernel itself does.
        """


_FORMULAS: dict[tuple[str, int], Formula] = {}
_WIDENING: set[tuple[str, int]] = set()


def formula(name: str, *, version: int = 1, widens: bool = False) -> Callable[[Formula], Formula]:
    """Register what the kernel `name` does, step by step: the bits of both are the same.

    `widens`: the kernel takes inputs of any type and widens them first; else they have to be fp64.
    """

    def register(function: Formula) -> Formula:
        _FORMULAS[name, version] = function
        if widens:
            _WIDENING.add((name, version))
        return function

    return register


def find_formula(op: Op) -> Formula | None:
    """The formula of a kernel, if it has one."""
    return _FORMULAS.get((op.name, op.version))


def widens(op: Op) -> bool:
    """Whether a kernel widens its inputs before it does anything else."""
    return (op.name, op.version) in _WIDENING


def formulas() -> Mapping[tuple[str, int], Formula]:
    """All of them, by the name and version of their kernels."""
    return _FORMULAS
