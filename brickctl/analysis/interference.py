"""How much two bricks are in each other's way before they are merged, from what each does to the weights.

Both are deltas of one base, tuned minus base: D = U S V^T, of which a LoRA gives thin factors, so that only small cores
are decomposed and no delta of its size is made. Of a delta that is no product, such as that of a DoRA, the strongest
directions stand for all. Summed over tensors before anything is divided:

    cosine     <D, E> / (|D| |E|)
    inputs     |D E^T|^2 / (|D^T D| |E^T E|)     the principal angles of what both read, weighted by singular values:
                                                 sum_ij s_i^2 t_j^2 cos^2(v_i, w_j) / sqrt(sum_i s_i^4 sum_j t_j^4)
    outputs    |D^T E|^2 / (|D D^T| |E E^T|)     the same of what both write into
    loudness   |E D^T| / |D D^T|                 how loud E is on what D reads, beside D itself
    conflicts  of the entries that are above the root mean square of their tensor in both, the share with two signs

`inputs` and `outputs` are the RV coefficients (Robert and Escoufier, 1976) of the two sides: 0 for subspaces at right
angles, 1 for equal ones. `conflicts` is 0.5 for deltas that know nothing of each other; what TIES (arXiv 2306.01708)
elects is about these entries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.tensors.spectral import NEGLIGIBLE, rows_of
from brickctl.tensors.truncation import of_rank

if TYPE_CHECKING:
    from torch import Tensor

STRONGEST = 32
"""Directions that stand for a delta which is no product of thin factors."""

SAMPLE = 1 << 16
"""Entries of a tensor whose signs are compared, at most, in whole rows that lie evenly over it."""

_LARGEST = 1 << 25
"""Elements of a whole matrix that is decomposed; of a larger one the angles are not known."""

_ROUNDING = 1e-14
"""A square this small beside those that it is the difference of is rounding."""


@dataclass(frozen=True, slots=True)
class Directions:
    """The singular values (k) of a delta from the largest down, and its vectors: left (rows, k), right (columns, k)."""

    left: Tensor
    values: Tensor
    right: Tensor


@dataclass(frozen=True, slots=True)
class Thin:
    """A delta that is left (rows, r) @ right (r, columns), in fp64."""

    left: Tensor
    right: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the delta."""
        return self.left.shape[0], self.right.shape[1]

    def square(self) -> float:
        """The squared Frobenius norm, from the Gram matrices of the factors."""
        return max(0.0, float(((self.left.T @ self.left) * (self.right @ self.right.T)).sum()))

    def rows(self, step: int) -> Tensor:
        """Every `step`-th row."""
        return self.left[::step] @ self.right

    def directions(self) -> Directions:
        """All of them, from the core of r rows and columns."""
        import torch

        basis, up = torch.linalg.qr(self.left)
        across, down = torch.linalg.qr(self.right.T)
        turned, values, back = torch.linalg.svd(up @ down.T, full_matrices=False)
        kept = values > NEGLIGIBLE * values[:1]
        return Directions(basis @ turned[:, kept], values[kept], across @ back.T[:, kept])


@dataclass(frozen=True, slots=True)
class Whole:
    """A delta (rows, columns) of floats."""

    matrix: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the delta."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def square(self) -> float:
        """The squared Frobenius norm."""
        return sum(float(part.double().square().sum()) for part in rows_of(self.matrix)())

    def rows(self, step: int) -> Tensor:
        """Every `step`-th row."""
        return self.matrix[::step].double()

    def directions(self) -> Directions | None:
        """The strongest; None for what is no matrix, has nothing but zeros, or is too large to be decomposed."""
        if min(self.shape) == 1 or self.matrix.numel() > _LARGEST or not self.matrix.any():
            return None
        found = of_rank(self.matrix.double(), min(STRONGEST, *self.shape))
        values = found.energies.sqrt()
        roots = values.sqrt()
        return Directions(found.left / roots, values, found.right.T / roots)


Delta = Thin | Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Interference:
    """Sums over tensors, from which all figures follow; those of several tensors are added.

    Attributes:
        squares: |D|^2 and |E|^2.
        dot: <D, E>.
        fourths: |D^T D|^2 and |E^T E|^2, over the tensors whose directions are known.
        inputs, outputs: |D E^T|^2 and |D^T E|^2, over the same.
        large: entries that were looked at and are large in both.
        opposite: those of them whose signs differ.
    """

    squares: tuple[float, float] = (0.0, 0.0)
    dot: float = 0.0
    fourths: tuple[float, float] = (0.0, 0.0)
    inputs: float = 0.0
    outputs: float = 0.0
    large: int = 0
    opposite: int = 0

    def __add__(self, other: Interference) -> Interference:
        """The sums of both."""
        return Interference(
            squares=(self.squares[0] + other.squares[0], self.squares[1] + other.squares[1]),
            dot=self.dot + other.dot,
            fourths=(self.fourths[0] + other.fourths[0], self.fourths[1] + other.fourths[1]),
            inputs=self.inputs + other.inputs,
            outputs=self.outputs + other.outputs,
            large=self.large + other.large,
            opposite=self.opposite + other.opposite,
        )

    @property
    def norms(self) -> tuple[float, float]:
        """The Frobenius norms of the two."""
        return math.sqrt(self.squares[0]), math.sqrt(self.squares[1])

    @property
    def distance(self) -> float:
        """The norm of the difference of the two; 0 where rounding is all there is of it."""
        square = sum(self.squares) - 2.0 * self.dot
        return math.sqrt(square) if square > _ROUNDING * sum(self.squares) else 0.0

    @property
    def joint_norm(self) -> float:
        """The norm of the sum of the two: how far a model with both is from the base."""
        return math.sqrt(max(0.0, sum(self.squares) + 2.0 * self.dot))

    @property
    def norm_ratio(self) -> float | None:
        """The norm of the second beside that of the first; None where that does nothing."""
        first, second = self.norms
        return second / first if first else None

    @property
    def cosine(self) -> float | None:
        """In [-1, 1]; None where one of the two does nothing."""
        return _share(self.dot, math.prod(self.norms))

    @property
    def input_overlap(self) -> float | None:
        """In [0, 1]; None where no angles are known."""
        return _share(self.inputs, math.sqrt(math.prod(self.fourths)))

    @property
    def output_overlap(self) -> float | None:
        """In [0, 1]; None where no angles are known."""
        return _share(self.outputs, math.sqrt(math.prod(self.fourths)))

    @property
    def loudness(self) -> tuple[float, float] | None:
        """How loud the second is on what the first reads, beside the first; and the first on what the second reads."""
        if not all(self.fourths):
            return None
        first, second = (math.sqrt(self.inputs / fourth) for fourth in self.fourths)
        return first, second

    @property
    def conflicts(self) -> float | None:
        """In [0, 1]; None where no entry is large in both."""
        return _share(self.opposite, self.large)


@dataclass(frozen=True, slots=True)
class Known:
    """A delta of one tensor, with what is found out of it once, however many others it is held against."""

    delta: Delta
    square: float
    directions: Directions | None

    @property
    def stable_rank(self) -> float | None:
        """|D|_F^2 / |D|_2^2: how many directions as strong as the strongest it amounts to; None where none is known."""
        found = self.directions
        return None if found is None or not len(found.values) else self.square / float(found.values[0]) ** 2


def known(delta: Delta) -> Known:
    """A delta, measured and decomposed."""
    return Known(delta, delta.square(), delta.directions())


def interference(one: Known | None, other: Known | None) -> Interference:
    """What two bricks do to one tensor; None is a brick that leaves it as it is."""
    mine, theirs = (0.0 if delta is None else delta.square for delta in (one, other))
    angles = _angles(*(None if delta is None else delta.directions for delta in (one, other)))
    sums = Interference(squares=(mine, theirs)) + angles
    if one is None or other is None:
        return sums
    large, opposite = _signs(one, other)
    return sums + Interference(dot=_dot(one.delta, other.delta), large=large, opposite=opposite)


def _angles(one: Directions | None, other: Directions | None) -> Interference:
    """The sums that follow from directions; a brick alone has its fourth powers only."""
    fourths = tuple(0.0 if found is None else float((found.values**4).sum()) for found in (one, other))
    if one is None or other is None:
        return Interference(fourths=(fourths[0], fourths[1]))
    reading, writing = one.right.T @ other.right, one.left.T @ other.left
    rows, columns = one.values.unsqueeze(1), other.values.unsqueeze(0)
    return Interference(
        fourths=(fourths[0], fourths[1]),
        inputs=float((rows * reading * columns).square().sum()),
        outputs=float((rows * writing * columns).square().sum()),
    )


def _dot(one: Delta, other: Delta) -> float:
    """<D, E>, without a delta that is not there yet."""
    if isinstance(one, Thin) and isinstance(other, Thin):
        return float(((one.left.T @ other.left) * (one.right @ other.right.T)).sum())
    if isinstance(one, Whole) and isinstance(other, Whole):
        pairs = zip(rows_of(one.matrix)(), rows_of(other.matrix)(), strict=True)
        return sum(float((mine.double() * theirs.double()).sum()) for mine, theirs in pairs)
    thin, whole = (one, other) if isinstance(one, Thin) else (other, one)
    assert isinstance(thin, Thin) and isinstance(whole, Whole)  # noqa: S101, PT018 - the two kinds there are
    return float(((thin.left.T @ whole.matrix.double()) * thin.right).sum())


def _signs(one: Known, other: Known) -> tuple[int, int]:
    """How many of the entries that are looked at are large in both, and how many of these have two signs."""
    rows, columns = one.delta.shape
    step = max(1, -(-rows * columns // SAMPLE))
    mine, theirs = one.delta.rows(step), other.delta.rows(step)
    limits = [math.sqrt(known.square / (rows * columns)) for known in (one, other)]
    large = (mine.abs() > limits[0]) & (theirs.abs() > limits[1])
    return int(large.sum()), int((large & (mine * theirs < 0)).sum())


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
