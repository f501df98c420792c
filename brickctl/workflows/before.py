"""What the lock that was says to a resolution: what stays as it is, and what is preferred where a choice is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Pin
    from brickctl.core.lock import Locked
    from brickctl.core.names import Alias


@dataclass(frozen=True, slots=True)
class Before:
    """What the lock that was says.

    Attributes:
        settled: entries that are not to be chosen again.
        standing: entries that are asked for in the words for which they were locked, settled or not.
        pins: pins that are preferred where a choice is made.
        exactly: the version or revision that is taken whatever is preferred, by name.
        anew: names for which nothing is preferred.
    """

    settled: Mapping[Alias, Locked]
    standing: Mapping[Alias, Locked]
    pins: Mapping[Alias, Pin]
    exactly: Mapping[Alias, str]
    anew: frozenset[Alias]

    def preferred(self, name: Alias, origin: str) -> Pin | None:
        """The pin that was, by its name, or by where it comes from if it had another name."""
        if name in self.pins or name in self.anew:
            return self.pins.get(name)
        return next((pin for pin in self.pins.values() if pin.origin == origin), None)
