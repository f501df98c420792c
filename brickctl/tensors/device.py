"""Devices with a memory of their own, on which whole matrices are made where that is asked for.

Only bundles go there, matrix by matrix. Everything else moves so many bytes for each step of arithmetic that the way to
a device takes longer than the arithmetic here. What comes back differs in the last bits of fp64, as between two CPUs.
"""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from brickctl.errors import BrickctlError, NoSpace, UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from torch import cuda

_NO_MEMORY = ("out of memory", "ALLOC_FAILED")
"""How torch tells of it where it makes no OutOfMemoryError of it."""

_OF_DEVICES = ("CUDA", "CUBLAS", "CUSOLVER", "HIP ERROR")
"""What stands in the errors of devices, and in no others."""

_LIBRARIES = 512 << 20
"""Bytes that libraries for products and decompositions take on a device for themselves, at most."""


class Device(Protocol):
    """Where bundles may be made."""

    @property
    def name(self) -> str:
        """As torch calls it."""

    def free(self) -> int:
        """Bytes of its memory that bundles may take now."""

    def at_work(self) -> AbstractContextManager[None]:
        """While this thread makes a bundle there; at the end it is made."""


class Cuda:
    """A device that torch's CUDA reaches, ROCm's among them: `cuda`, or `cuda:1`; looked for when it is needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._idle: list[cuda.Stream] = []

    def free(self) -> int:
        """Bytes of its memory that bundles may take now, without what libraries need.

        Raises:
            UsageFault: torch reaches no such device.
            NoSpace: it has no room for a program more.
        """
        import torch

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if torch.device(self.name).index not in {None, *range(count)} or count == 0:
            raise self._missing(count, tuple(str(one.message) for one in told))
        with self._faults():
            torch.cuda.empty_cache()  # what an earlier target has left over
            return max(0, torch.cuda.mem_get_info(self.name)[0] - _LIBRARIES)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """In a stream of its own, so that one thread can bring matrices while another one's are factorised.

        There are no more streams than bundles at once: torch keeps the memory of each for itself.

        Raises:
            NoSpace: other programs have taken memory of the device since the plan was made.
        """
        import torch

        with self._faults():
            stream = self._idle.pop() if self._idle else torch.cuda.Stream(self.name)  # type: ignore[no-untyped-call]
            try:
                with torch.cuda.stream(stream):
                    yield
                    stream.synchronize()
            finally:
                self._idle.append(stream)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Say which device it is that fails, and what helps."""
        import torch

        try:
            yield
        except torch.OutOfMemoryError as error:
            raise self._full(str(error)) from None
        except RuntimeError as error:
            text = str(error)
            if any(sign in text for sign in _NO_MEMORY):
                raise self._full(text) from None
            if not any(library in text.upper() for library in _OF_DEVICES):
                raise
            hint = "look at `nvidia-smi`, or build without --device; finished shards are kept"
            raise BrickctlError(f"{self.name} failed", causes=(_first_line(text),), hint=hint) from error

    def _full(self, told: str) -> NoSpace:
        hint = "end what else runs there, or build without --device; finished shards are kept"
        return NoSpace(f"the memory of {self.name} is full", causes=(_first_line(told),), hint=hint)

    def _missing(self, count: int, told: tuple[str, ...]) -> UsageFault:
        """Why there is no such device, and what to do."""
        import torch

        if count:
            cause, hint = f"torch sees {count}, from cuda:0 on", f"take one up to cuda:{count - 1}"
        elif torch.version.cuda is None and torch.version.hip is None:
            cause = f"torch {torch.__version__} is built for CPUs alone"
            hint = "leave out --device, or install torch with CUDA: https://pytorch.org/get-started/locally"
        else:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            setting = "" if visible is None else f", with CUDA_VISIBLE_DEVICES={visible!r}"
            cause, hint = f"torch {torch.__version__} sees none{setting}", "leave out --device, or look at `nvidia-smi`"
        return UsageFault(f"there is no device `{self.name}` here", causes=(cause, *told), hint=hint)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
