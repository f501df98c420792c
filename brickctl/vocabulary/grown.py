"""Tables with other rows than before: old rows bit by bit, and means of some of them where a token is new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.dtypes import DType
from brickctl.core.rows import RowMap
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.averages import mean_of_many, mean_row
from brickctl.tensors.views import gather_rows
from brickctl.vocabulary.axis import as_matrix, shaped_as

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.core.nodes import Node

Beginning = int | tuple[int, ...]
"""What a row begins as: an old row, or the mean of several; of those of all old tokens where it is of none."""

_OLD, _MEAN = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRows:
    """What the rows of every table are.

    Attributes:
        rows: of each new row what it begins as.
        known: the rows of all old tokens.
    """

    rows: Sequence[Beginning]
    known: Sequence[int]

    def of(self, node: Node) -> Node:
        """A table (old rows, ...) as one of (new rows, ...), of the same element type.

        Rows are added in fp64, neighbours of a tuple first, as a binary tree: a plan of a thousand is ten deep.
        """
        matrix = as_matrix(node)
        lengths = sorted({len(row) for row in self.rows if isinstance(row, tuple) and row})
        known = gather_rows((matrix,), RowMap.of((_OLD, row) for row in self.known))
        made = (mean_row(known), *(self._means(matrix, length) for length in lengths))
        sources = (matrix, *(cast(one, matrix.spec.dtype) for one in made))
        return shaped_as(node, gather_rows(sources, RowMap.of(self._origins(lengths))))

    def _means(self, matrix: Node, length: int) -> Node:
        """The means of so many rows, in their order."""
        parts = [row for row in self.rows if isinstance(row, tuple) and len(row) == length]
        tables = (RowMap.of((_OLD, part[at]) for part in parts) for at in range(length))
        return mean_of_many([cast(gather_rows((matrix,), table), DType.F64) for table in tables])

    def _origins(self, lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Where each row comes from: the old table, the mean of all, or a table of means."""
        met = dict.fromkeys(lengths, 0)
        for row in self.rows:
            if isinstance(row, int):
                yield _OLD, row
            elif not row:
                yield _MEAN, 0
            else:
                yield _MEAN + 1 + lengths.index(len(row)), met[len(row)]
                met[len(row)] += 1
