"""A network of its own, in which a Hub and its clients live, and which can be cut like a cable."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


class Network:
    """A network namespace with nothing but its loopback; needs root."""

    def __init__(self) -> None:
        # The namespace lives as long as somebody is in it.
        self._holder = subprocess.Popen([_found("unshare"), "--net", "cat"], stdin=subprocess.PIPE)
        self.enter = (_found("nsenter"), f"--target={self._holder.pid}", "--net")
        """Words before a command that put it there."""

    def __enter__(self) -> Self:
        ours, theirs = Path("/proc/self/ns/net"), Path(f"/proc/{self._holder.pid}/ns/net")
        while theirs.readlink() == ours.readlink():
            pass  # `unshare` has not got there yet
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()

    def cut(self) -> None:
        """Nothing that is sent arrives, and nobody is told."""
        self._set("down")

    def mend(self) -> None:
        """What is sent arrives again."""
        self._set("up")

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Sockets that this thread makes belong to the network, also later."""
        with Path("/proc/self/ns/net").open() as ours, Path(f"/proc/{self._holder.pid}/ns/net").open() as theirs:
            _join(theirs.fileno())
            try:
                yield
            finally:
                _join(ours.fileno())

    def _set(self, state: str) -> None:
        subprocess.run([*self.enter, "ip", "link", "set", "lo", state], check=True)


def _join(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _NEW_NETWORK) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _found(command: str) -> str:
    place = shutil.which(command)
    assert place is not None, f"{command} is not here: it comes with util-linux"
    return place
