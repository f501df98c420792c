"""Memory that is too small for a training, in words that help."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from brickctl.errors import NoSpace

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_CPU = "DefaultCPUAllocator"
"""How torch tells of the memory of the machine, for which it has no error of its own."""


@contextmanager
def enough_room(where: str) -> Iterator[None]:
    """While something is loaded or trained on a device, or on `this machine`.

    Raises:
        NoSpace: its memory is full.
    """
    import torch

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and _OF_CPU not in str(error):
            raise
        hint = "give a smaller --batch, --length or --rank; with --restart, as these change what comes out"
        cause = str(error).strip().partition("\n")[0]
        raise NoSpace(f"the memory of {where} is full", causes=(cause,), hint=hint) from None
