"""How far one tensor is from another, in one pass over both; and how many directions their difference has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Node, Op, Statistic
from brickctl.core.regions import Spec
from brickctl.tensors.arithmetic import cast, subtract
from brickctl.tensors.kernels import Scan, statistic_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.tensors.arrays import Array

_LARGEST = 1e70
"""Of an element of which fourth powers can be summed in fp64."""

_FIELDS = 8
_WIDTH = 8
"""Directions that are followed at once: the strongest is found sooner among some."""

_MOST_ROUNDS = 6
_LEAST_GAIN = 1e-3
"""A round must have found this much more of the square of the norm, as a share, or it was the last."""

_SEED = 0x5EED


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Sums over the elements of one tensor before and after, d = after - before; those of several are added.

    Attributes:
        before: sum of before^2.
        across: sum of before * d.
        square: sum of d^2.
        largest: the largest |d|.
        changed: elements that are not what they were.
        agreeing: of `signed`, the elements whose sign is what it was.
        signed: elements that are neither 0 before nor after.
        unknown: elements that are NaN, infinite or above 1e70 before or after; they count in nothing else.
        elements: all of them.
    """

    before: float = 0.0
    across: float = 0.0
    square: float = 0.0
    largest: float = 0.0
    changed: int = 0
    agreeing: int = 0
    signed: int = 0
    unknown: int = 0
    elements: int = 0

    def __add__(self, other: Difference) -> Difference:
        """The sums over both."""
        return Difference(
            before=self.before + other.before,
            across=self.across + other.across,
            square=self.square + other.square,
            largest=max(self.largest, other.largest),
            changed=self.changed + other.changed,
            agreeing=self.agreeing + other.agreeing,
            signed=self.signed + other.signed,
            unknown=self.unknown + other.unknown,
            elements=self.elements + other.elements,
        )

    @property
    def is_equal(self) -> bool:
        """Whether every number is what it was; nobody knows of NaN."""
        return not self.changed and not self.unknown

    @property
    def norm(self) -> float:
        """|d|."""
        return math.sqrt(self.square)

    @property
    def relative(self) -> float | None:
        """|d| / |before|; None where nothing was there before."""
        return math.sqrt(self.square / self.before) if self.before else None

    @property
    def cosine(self) -> float | None:
        """Between before and after, in [-1, 1]; from sums with d, in which little is lost if the two are near."""
        after = self.before + 2.0 * self.across + self.square
        if self.before <= 0.0 or after <= 0.0:
            return None
        return max(-1.0, min(1.0, (self.before + self.across) / math.sqrt(self.before * after)))

    @property
    def sign_agreement(self) -> float | None:
        """The share of signs that stayed, in [0, 1]; None where there is none."""
        return self.agreeing / self.signed if self.signed else None


def difference(before: Node, after: Node) -> Statistic:
    """The numbers of a `Difference`, (1, 8) in fp64, of two tensors of one shape and of floats."""
    inputs = cast(before, DType.F64), cast(after, DType.F64)
    return Statistic(Spec(DType.F64, (1, _FIELDS)), Op.make("difference", 1), inputs)


def read_difference(numbers: Sequence[float], elements: int) -> Difference:
    """What the numbers of `difference` say."""
    before, across, square, largest, changed, agreeing, signed, unknown = numbers
    return Difference(
        before=before,
        across=across,
        square=square,
        largest=largest,
        changed=int(changed),
        agreeing=int(agreeing),
        signed=int(signed),
        unknown=int(unknown),
        elements=elements,
    )


def strongest_square(before: Node, after: Node) -> Statistic:
    """The squared spectral norm of the difference of two matrices, (1, 1) in fp64; at most a few percent too small.

    It is exact where few directions stand out, and worst for noise, in which none does. Eight directions are multiplied
    by D^T D until the strongest of them grows no more (subspace iteration; Halko, Martinsson and Tropp, arXiv
    0909.4061, section 4.5). No matrix is held: each round reads both tensors again.
    """
    delta = subtract(after, cast(before, DType.F64))
    op = Op.make("strongest-square", 1, columns=delta.spec.columns)
    return Statistic(Spec(DType.F64, (1, 1)), op, (delta,), whole_rows=True)


@statistic_kernel("difference", scratch=48, arrays=True)
def run_difference(scan: Scan, given: Sequence[Array], arguments: Mapping[str, Any]) -> Array:
    """Add up each block."""
    import numpy as np

    del given, arguments
    sums, largest = np.zeros(_FIELDS), 0.0
    for (before, after), _ in scan():
        part = _of_block(before, after)
        largest = max(largest, float(part[3]))
        sums += part
    sums[3] = largest
    return sums.reshape(1, _FIELDS)


def _of_block(before: Array, after: Array) -> Array:
    import numpy as np

    finite = (np.abs(before) < _LARGEST) & (np.abs(after) < _LARGEST)  # false of NaN
    unknown = finite.size - int(finite.sum())
    if unknown:
        before, after = np.where(finite, before, 0.0), np.where(finite, after, 0.0)
    delta = after - before
    signed = (before != 0.0) & (after != 0.0)
    agreeing = signed & (np.signbit(before) == np.signbit(after))
    return np.array(
        [
            np.vdot(before, before),
            np.vdot(before, delta),
            np.vdot(delta, delta),
            np.abs(delta).max(initial=0.0),
            (delta != 0.0).sum(),
            agreeing.sum(),
            signed.sum(),
            unknown,
        ]
    )


@statistic_kernel("strongest-square", scratch=16, arrays=True)
def run_strongest_square(scan: Scan, given: Sequence[Array], arguments: Mapping[str, Any]) -> Array:
    """Multiply directions by D^T D, and see how much of the strongest they have found."""
    import numpy as np

    del given
    columns, found = arguments["columns"], 0.0
    drawn = np.random.default_rng(_SEED).standard_normal((columns, min(_WIDTH, columns)))
    for _ in range(_MOST_ROUNDS):
        basis = np.linalg.qr(drawn)[0]
        drawn = np.zeros_like(basis)
        for (block,), _ in scan():
            drawn += block.T @ (block @ basis)
        if not np.isfinite(drawn).all():
            return np.full((1, 1), math.nan)
        before, found = found, float(np.linalg.eigvalsh(basis.T @ drawn)[-1])
        if found - before <= _LEAST_GAIN * found:
            break
    return np.array([[found]])
