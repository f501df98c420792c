"""What the kernel of a statistic sees: the blocks of its inputs, or sums over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.tensors.fused.formula import Code
from brickctl.tensors.fused.fusion import fuse, fuse_totals
from brickctl.tensors.fused.programs import NONE
from brickctl.tensors.kernels import arguments_of
from brickctl.tensors.sorting_out import Sorter
from brickctl.tensors.strips import Total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from brickctl.core.nodes import Statistic
    from brickctl.core.regions import Region
    from brickctl.tensors.evaluate import Evaluator
    from brickctl.tensors.fused.formula import Terms
    from brickctl.tensors.fused.fusion import Fused
    from brickctl.tensors.results import Results
    from brickctl.tensors.sorting_out import Bracket, SortedOut


@dataclass(frozen=True, slots=True)
class Scanning:
    """The `Scan` of a statistic; ends where nobody wants results any more."""

    evaluator: Evaluator
    node: Statistic
    results: Results
    arrays: bool

    def __call__(self, regions: Iterable[Region] | None = None) -> Iterator[tuple[list[Any], Region]]:
        """Make these rectangles of the inputs, or all blocks, one after another."""
        for region in self.node.scanned() if regions is None else regions:
            self.results.check_wanted()
            inputs = self.evaluator.together(self.node.inputs, region)
            yield [part.array if self.arrays else part.matrix for part in inputs], region
            for part in inputs:
                self.evaluator.give_back(part)

    def totals(self, terms: Terms) -> list[float] | None:
        """Add up terms over the inputs, without making those; None where that cannot be done."""
        fused = fuse_totals(self.node.inputs, terms, self.evaluator.small, arguments_of)
        if fused is None or not fused.reads_files_only:
            return None
        sums = [Total() for _ in fused.results]
        for _ in self._passes(fused, [total.address for total in sums]):
            pass
        return [total.value() for total in sums]

    def sorted_out(self, brackets: Sequence[Bracket | None]) -> Iterator[list[SortedOut]] | None:
        """Sort out the keys of the inputs, without making those; None where that cannot be done."""
        fused = fuse(self.node.inputs, NONE, self.evaluator.small, arguments_of, ends_in=Code.SORT_OUT)
        return None if fused is None or not fused.reads_files_only else self._sort_out(fused, brackets)

    def _sort_out(self, fused: Fused, brackets: Sequence[Bracket | None]) -> Iterator[list[SortedOut]]:
        most = max(region.elements for region in self.node.scanned())
        sorters = [Sorter(bracket, most) for bracket in brackets]
        for _ in self._passes(fused, [sorter.address for sorter in sorters]):
            yield [sorter.take() for sorter in sorters]

    def _passes(self, fused: Fused, places: Sequence[int]) -> Iterator[None]:
        """Let a program go over one block after another, with what it fills at these places."""
        columns = self.node.inputs[0].spec.columns
        for region in self.node.scanned():
            self.results.check_wanted()
            with self.evaluator.read_by(fused, region) as inputs:
                fused.program.run(inputs, places, region, columns)
            yield
