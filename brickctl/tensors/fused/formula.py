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

    from torch import Tensor

    from brickctl.core.nodes import Op
    from brickctl.core.regions import Region

Limits = tuple[float, float, float]
"""Magnitudes above the first are kept; of those not above the second only so many, unless the third is negative."""


class Code(IntEnum):
    """The steps that the machine knows, by its numbers."""

    LOAD_F64 = 0
    LOAD_F32 = 1
    LOAD_F16 = 2
    LOAD_BF16 = 3
    STORE_F64 = 4
    STORE_F32 = 5
    STORE_F16 = 6
    STORE_BF16 = 7
    ADD = 8
    SUBTRACT = 9
    MULTIPLY = 10
    DIVIDE = 11
    ADD_NUMBER = 12
    MULTIPLY_NUMBER = 13
    DIVIDE_NUMBER = 14
    AT_LEAST = 15
    AT_MOST = 16
    AGREES = 17
    LARGEST = 18
    DRAWN = 19
    MAGNITUDE = 20
    TOTAL = 21


LOADS = frozenset({Code.LOAD_F64, Code.LOAD_F32, Code.LOAD_F16, Code.LOAD_BF16})
"""What reads the input of the number `left`."""

_OF_TWO = frozenset({Code.ADD, Code.SUBTRACT, Code.MULTIPLY, Code.DIVIDE, Code.AGREES})


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it does to the results of which other steps, or to which input; and the number that it needs."""

    code: Code
    left: int = -1
    right: int = -1
    number: float = 0.0

    @property
    def reads(self) -> tuple[int, ...]:
        """The steps whose results it needs."""
        if self.code in LOADS or self.code is Code.DRAWN:
            return ()
        return (self.left, self.right) if self.code in _OF_TWO else (self.left,)


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
        name = step, struct.pack("<d", step.number)  # 0.0 and -0.0 are equal, and not the same
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
            if step.code in LOADS:
                step = replace(step, left=inputs.index(step.left))
            elif step.reads:
                right = steps[step.right] if len(step.reads) > 1 else step.right
                step = replace(step, left=steps[step.left], right=right)
            found.steps.append(step)
        return found

    def drawn(self, stream: str, limit: int) -> Value:
        """1 where the draw of an element from a stream is below a limit, else 0."""
        key = bytes.fromhex(stream)
        self.streams.append((int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little"), limit))
        return self.take(Step(Code.DRAWN, right=3 * (len(self.streams) - 1)))


def live(results: Iterable[int], notes: Notes) -> tuple[dict[int, int], list[int]]:
    """The steps that some results need, with new numbers, and the inputs that those read."""
    waiting, found = list(results), set[int]()
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += notes.steps[number].reads
    steps = {number: place for place, number in enumerate(sorted(found))}
    return steps, sorted({notes.steps[number].left for number in steps if notes.steps[number].code in LOADS})


@dataclass(frozen=True, slots=True)
class Value:
    """What a step makes: fp64, one for each element."""

    notes: Notes
    number: int

    def __add__(self, other: Value | float) -> Value:
        return self._with(Code.ADD, Code.ADD_NUMBER, other)

    def __sub__(self, other: Value) -> Value:
        return self.notes.take(Step(Code.SUBTRACT, self.number, other.number))

    def __mul__(self, other: Value | float) -> Value:
        return self._with(Code.MULTIPLY, Code.MULTIPLY_NUMBER, other)

    def __truediv__(self, other: Value | float) -> Value:
        return self._with(Code.DIVIDE, Code.DIVIDE_NUMBER, other)

    def at_least(self, number: float) -> Value:
        """The number where the value is below it."""
        return self.notes.take(Step(Code.AT_LEAST, self.number, number=number))

    def at_most(self, number: float) -> Value:
        """The number where the value is above it."""
        return self.notes.take(Step(Code.AT_MOST, self.number, number=number))

    def magnitude(self) -> Value:
        """The value without its sign."""
        return self.notes.take(Step(Code.MAGNITUDE, self.number))

    def agrees(self, votes: Value) -> Value:
        """1 where the value is not 0 and is above 0 exactly where the votes are not below it, else 0."""
        return self.notes.take(Step(Code.AGREES, self.number, votes.number))

    def largest(self, limits: Callable[[Region], Limits]) -> Value:
        """The value where it is among the largest, else 0; `limits` says which those are in a block of whole rows."""
        self.notes.limits.append(limits)
        return self.notes.take(Step(Code.LARGEST, self.number, 3 * (len(self.notes.limits) - 1)))

    def _with(self, values: Code, numbers: Code, other: Value | float) -> Value:
        if isinstance(other, Value):
            return self.notes.take(Step(values, self.number, other.number))
        return self.notes.take(Step(numbers, self.number, number=float(other)))


Terms = Callable[["Sequence[Value]", Notes], "Sequence[Value]"]
"""From the inputs of a statistic, each one element, what is added up over all elements."""


class Formula(Protocol):
    """What a kernel does to one element of each input."""

    def __call__(
        self, inputs: Sequence[Value], whole: Sequence[Tensor], arguments: Mapping[str, Any], notes: Notes
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
