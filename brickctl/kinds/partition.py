"""The numbers of a partition of neurons, which are known while planning: the brick is small, and read whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.errors import Misfit
from brickctl.kinds.neurons import grouping, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from brickctl.core.brick import Brick, File
    from brickctl.core.digests import Sha256
    from brickctl.core.nodes import Stored

LARGEST = 1 << 30
"""Bytes of a file that is read whole."""


class Partition:
    """What a brick of kind neurons, which has been checked, says in numbers.

    `read` gives the verified bytes of one of its files. Neurons are counted from 0 within their FFN, and FFNs are named
    by the paths of their modules.
    """

    def __init__(self, brick: Brick, read: Callable[[Brick, File], bytes]) -> None:
        self.brick = brick
        self.grouping = grouping(brick)
        self._read = read
        self._contents: dict[Sha256, bytes] = {}

    def shared(self, ffn: str) -> tuple[int, ...]:
        """The neurons of an FFN that are always on.

        Raises:
            Misfit: what the brick has is no permutation of its neurons.
        """
        return tuple(self._order(ffn)[: self.grouping.shared].tolist())

    def groups(self, ffn: str) -> tuple[tuple[int, ...], ...]:
        """The neurons of each group of an FFN.

        Raises:
            Misfit: what the brick has is no permutation of its neurons.
        """
        rest = self._order(ffn)[self.grouping.shared :].reshape(self.grouping.groups, -1)
        return tuple(tuple(group) for group in rest.tolist())

    def mass(self, ffn: str) -> NDArray[np.float64]:
        """Mean share of the output that each group carries, (labels, groups): one row for all text without labels.

        Raises:
            Misfit: a share is negative or no number.
        """
        return self._masses(ffn)[: max(len(self.grouping.labels), 1)]

    def mass_with_bricks(self, ffn: str) -> NDArray[np.float64]:
        """The same of the base with each of the bricks on it, (bricks, groups).

        Raises:
            Misfit: a share is negative or no number.
        """
        return self._masses(ffn)[max(len(self.grouping.labels), 1) :]

    def logits(self, ffn: str) -> tuple[float, float] | None:
        """Spread and smallest useful gap of the logits of the router; None where they were not measured.

        Raises:
            Misfit: one of the two is negative or no number.
        """
        name = f"{ffn}.logits"
        if name not in self.brick.contents.tensors:
            return None
        spread, gap = self._numbers(name, "<f8").tolist()
        return spread, gap

    def router(self, ffn: str) -> Stored:
        """The matrix of a linear router, (groups, hidden)."""
        return self.brick.contents.tensors[f"{ffn}.router.weight"]

    def _masses(self, ffn: str) -> NDArray[np.float64]:
        return self._numbers(f"{ffn}.mass", "<f4").reshape(-1, self.grouping.groups)

    def _order(self, ffn: str) -> NDArray[np.int64]:
        import numpy as np

        order = self._values(f"{ffn}.order", "<i4").astype(np.int64)
        if not np.array_equal(np.sort(order), np.arange(order.size)):
            raise unreadable(self.brick, f"`{ffn}.order` is no permutation of {order.size} neurons")
        return order

    def _numbers(self, name: str, dtype: str) -> NDArray[np.float64]:
        import numpy as np

        found = self._values(name, dtype).astype(np.float64)
        if not np.isfinite(found).all() or (found < 0).any():
            raise unreadable(self.brick, f"`{name}` has a number that is negative, infinite or none")
        return found

    def _values(self, name: str, dtype: str) -> NDArray[Any]:
        import numpy as np

        stored = self.brick.contents.tensors[name]
        content = self._content(stored.blob)
        return np.frombuffer(content, dtype, stored.spec.elements, stored.offset)

    def _content(self, blob: Sha256) -> bytes:
        """The bytes of the file that holds a tensor."""
        if blob not in self._contents:
            file = next(file for file in self.brick.pin.files if file.sha256 == blob)
            if file.size > LARGEST:
                cause = f"`{file.path}` has {file.size:,} bytes; brickctl reads up to {LARGEST:,}"
                message = f"`{self.brick.name}` is too large for a partition of neurons"
                raise Misfit(message, causes=(cause,), place=self.brick.required_by)
            self._contents[blob] = self._read(self.brick, file)
        return self._contents[blob]
