"""Regression: another check, held against the result that was accepted last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from brickctl.analysis.checks.check import CheckKind, register

if TYPE_CHECKING:
    from brickctl.analysis.checks.measured import Bar, Good
    from brickctl.core.document import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression(CheckKind):
    """Another check of the same target, held against the result that `brickctl test --accept` wrote down last.

    It is missed where nothing was accepted, or where the data of the other check has changed since: two figures of
    different questions cannot be compared. It measures nothing of its own, and has neither `data` nor a bar.

    Args:
        of: the name of the other check.
        tolerance: by how much the figure may be worse than the accepted one; 0 unless it says otherwise. 0.02 are two
            points of a share, and two hundredths of a perplexity.
    """

    good: ClassVar[Good | None] = None

    of: str
    tolerance: float = 0.0

    @classmethod
    def read(cls, table: Table) -> Self:
        """Read `of` and `tolerance`."""
        of = table.string("of")
        tolerance = table.number_or_none("tolerance") or 0.0
        if tolerance < 0:
            raise table.error(f"{table.named('tolerance')} may not be below 0", key="tolerance")
        return cls(of=of, tolerance=tolerance)

    def read_path(self, table: Table) -> None:
        """It has no data of its own."""
        del table

    def read_bar(self, table: Table) -> Bar | None:
        """Its bar follows from what was accepted."""
        del table
        return None

    def follows(self) -> str:
        """The check that it holds against an earlier result."""
        return self.of


register("regression", Regression)
