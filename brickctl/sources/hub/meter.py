"""What stands where the Hub's client wants a progress bar: it draws nothing, and ends a download that would not end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from brickctl.errors import TransportFault

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_REWINDS = 5
"""How often a server may begin a file anew; the client itself would go on for as long as some bytes come."""


class Meter:
    """Counts the bytes of one download; a subclass of its own for each, since the client makes the instance."""

    where: str
    size: int
    advance: Callable[[int], None] | None

    def __init__(self, *, initial: float = 0, **_: Any) -> None:
        self._bytes = int(initial)
        self._rewinds = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, amount: float | None = 1) -> None:
        """Some bytes have come, or are given up where the number is negative.

        Raises:
            TransportFault: more bytes than the file has, or the server has begun anew too often.
        """
        amount = int(amount or 0)
        self._bytes += amount
        self._rewinds += amount < 0
        if self._bytes > self.size:
            raise self._endless(f"the server sends more than its {self.size:,} bytes")
        if self._rewinds > _MOST_REWINDS:
            raise self._endless("the connection breaks, and the server begins the file anew every time")
        if self.advance is not None and amount:
            self.advance(amount)

    def close(self) -> None:
        """Nothing is open."""

    def _endless(self, cause: str) -> TransportFault:
        hint = "if a proxy or a mirror stands between, go round it; HF_ENDPOINT says which server is asked"
        return TransportFault(f"{self.where} could not be fetched", causes=(cause,), hint=hint)


def metered(where: str, size: int, advance: Callable[[int], None] | None) -> type[Meter]:
    """The meter of a file of `size` bytes, called `where` in messages; `advance` hears of what comes."""
    heard = None if advance is None else staticmethod(advance)
    return type("Metered", (Meter,), {"where": where, "size": size, "advance": heard})
