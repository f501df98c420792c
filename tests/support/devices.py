"""A device for tests of what goes to one, which need none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Elsewhere:
    """A device that lies in the memory of this machine, and counts what is made on it."""

    name = "cpu:0"

    def __init__(self, memory: int = 1 << 30) -> None:
        self.memory = memory
        self.asked = self.made = 0

    def free(self) -> int:
        self.asked += 1
        return self.memory

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self.made += 1
        yield
