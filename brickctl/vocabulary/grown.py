"""Tables with rows for new tokens: the old rows bit by bit, and means of some of them in the new ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.dtypes import DType
from brickctl.core.rows import RowMap
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.averages import mean_of, mean_row
from brickctl.tensors.views import gather_rows
from brickctl.vocabulary.axis import as_matrix, shaped_as

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.core.nodes import Node

_OLD, _MEAN = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GrownRows:
    """What the rows of every table are.

    Attributes:
        before: how many rows there are.
        after: how many there will be.
        first: the row of the first new token; those of the others follow.
        parts: for each new token the rows whose mean it begins with; none: the mean of `known`.
        known: the rows of all old tokens.
    """

    before: int
    after: int
    first: int
    parts: Sequence[tuple[int, ...]]
    known: Sequence[int]

    def of(self, node: Node) -> Node:
        """A table (before, ...) as one of (after, ...), of the same element type.

        Rows are added in fp64, in the order in which `parts` has them, and rounded once.
        """
        matrix = as_matrix(node)
        lengths = sorted({len(part) for part in self.parts if part})
        known = gather_rows((matrix,), RowMap.of((_OLD, row) for row in self.known))
        made = (mean_row(known), *(self._means(matrix, length) for length in lengths))
        sources = (matrix, *(cast(one, matrix.spec.dtype) for one in made))
        return shaped_as(node, gather_rows(sources, RowMap.of(self._origins(lengths))))

    def _means(self, matrix: Node, length: int) -> Node:
        """The rows of the tokens that have so many parts, in their order."""
        parts = [part for part in self.parts if len(part) == length]
        tables = (RowMap.of((_OLD, part[at]) for part in parts) for at in range(length))
        return mean_of([cast(gather_rows((matrix,), table), DType.F64) for table in tables])

    def _origins(self, lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Where each row comes from: the old table, the mean of all, or a table of means."""
        met = dict.fromkeys(lengths, 0)
        for row in range(self.after):
            is_new = self.first <= row < self.first + len(self.parts)
            length = len(self.parts[row - self.first]) if is_new else 0
            if length:
                yield _MEAN + 1 + lengths.index(length), met[length]
                met[length] += 1
            else:
                yield (_MEAN, 0) if is_new or row >= self.before else (_OLD, row)
