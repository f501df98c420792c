"""A `brickctl` for the shell that begins with all imports done, for pages with many commands.

    python -m tests.support.warm SOCKET

serves the command that `Warm` puts into a folder. Each command is a process of its own, forked from the server, with
the shell's arguments, folder, variables and descriptors; what one imports, the server imports for those that follow.
Variables that libraries read while they are imported must be the server's: with others the command is the real one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.support.nursery import brickctl, leave

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

ROOT = Path(__file__).parents[2]

_COMMAND = """\
#!{python} -IS
import json, os, socket, sys
variables = dict(os.environ)
read_by_imports = ("HF_", "OMP_", "PYTHON", "TRANSFORMERS_", "XDG_", "HOME")
if {{name: value for name, value in variables.items() if name.startswith(read_by_imports)}} != {fixed!r}:
    os.execv({python!r}, [{python!r}, "-m", "brickctl", *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({socket!r})
request = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "variables": variables}}
socket.send_fds(server, [b"?"], [0, 1, 2])
server.sendall(json.dumps(request).encode() + b"\\n")
sys.exit(int(server.makefile().readline() or 1))
"""
_READ_BY_IMPORTS = ("HF_", "OMP_", "PYTHON", "TRANSFORMERS_", "XDG_", "HOME")


class Warm:
    """The command, in the folder `bin`, for as long as the context lasts."""

    def __init__(self, place: Path, environment: Mapping[str, str]) -> None:
        """Begin a server with these variables; `place` is a folder that does not exist yet, with a short name."""
        place.mkdir()
        self.environment = dict(environment)
        self.bin = place / "bin"
        self.bin.mkdir()
        address, fixed = str(place / "socket"), _fixed(environment)
        command = self.bin / "brickctl"
        command.write_text(_COMMAND.format(python=sys.executable, socket=address, fixed=fixed))
        command.chmod(0o755)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", address],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.terminate()
        self._server.communicate()


def _fixed(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_BY_IMPORTS)}


def main() -> None:
    """Serve one command after another, or side by side; each has a process that waits for it."""
    importlib.import_module("brickctl.cli.app")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how those that wait have ended
    learned = Path(sys.argv[1] + ".learned")
    learned.touch()
    with socket.socket(socket.AF_UNIX) as listening, learned.open() as names:
        listening.bind(sys.argv[1])
        listening.listen()
        print("ready", flush=True)  # noqa: T201 - what the test waits for
        while True:
            connection, _ = listening.accept()
            for name in names.read().split():
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
            if os.fork() == 0:
                listening.close()
                leave(_answer(connection, learned))
            connection.close()


def _answer(connection: socket.socket, learned: Path) -> int:
    """Run one command, and say how it ended; end it when nobody waits for it any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(connection.makefile().readline())
    child = os.fork()
    if child == 0:
        connection.close()
        leave(_live(request, descriptors, learned))
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:
        os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        connection.sendall(b"%d\n" % (os.waitstatus_to_exitcode(status) % 256))
    return 0


def _live(request: dict[str, Any], descriptors: list[int], learned: Path) -> int:
    """What a command does from its birth to its end."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the descriptor, for as long as the process lives
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])
    known = dict.fromkeys(sys.modules)
    try:
        return brickctl(request["arguments"])
    finally:
        with learned.open("a") as names:
            names.write("".join(f"{name}\n" for name in [*sys.modules] if name not in known))


if __name__ == "__main__":
    main()
