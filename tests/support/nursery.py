"""Run brickctl many times, each in a process of its own that begins with all imports done.

    python -m tests.support.nursery < requests

A request is a line of JSON: `limit` and `report` as in kill_at (none: nothing is counted), `arguments`, the `folder`
to run in, and `out` and `err`, the files for what it says. The answer is a line with its exit code, negative for a
signal. What the children import, the nursery imports for those that follow.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from tests.support.kill_at import count_and_kill
from tests.support.sandbox import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from tests.support.sandbox import Sandbox

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_write = os.write  # a child may count its calls of the other


class Nursery:
    """The nursery of one sandbox, seen from the test."""

    def __init__(self, sandbox: Sandbox, *, within: Sequence[str] = ()) -> None:
        """Begin; `within` are words before its command, such as those that give it mounts of its own."""
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [*within, sys.executable, "-m", "tests.support.nursery"],
            env=sandbox.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._root = sandbox.root

    @property
    def pid(self) -> int:
        """Its process, the parent of those that run brickctl."""
        return self._process.pid

    def run(self, *arguments: str, limit: int | None = None, report: Path | None = None) -> Outcome:
        """Run brickctl; `limit` and `report` as in kill_at."""
        out, err = (Path(self._folder.name, name) for name in ("out", "err"))
        request = {
            "limit": limit, "report": None if report is None else str(report), "arguments": arguments,
            "out": str(out), "err": str(err), "folder": str(self._root),
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Outcome(int(self._process.stdout.readline()), out.read_text(), err.read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._folder.cleanup()


def main() -> None:
    """Serve requests until there are no more."""
    importlib.import_module("brickctl.cli.app")
    for line in sys.stdin:
        request = json.loads(line)
        imported, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(imported)
            leave(_live(request, tell))
        os.close(tell)
        with os.fdopen(imported) as names:
            learned = names.read().split()
        _, status = os.waitpid(child, 0)
        for name in learned:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - its answer


def _live(request: dict[str, Any], tell: int) -> int:
    """What a child does from its birth to its end."""
    for number, mode, path in ((0, os.O_RDONLY, os.devnull), (1, _NEW, request["out"]), (2, _NEW, request["err"])):
        opened = os.open(path, mode, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the descriptor, for as long as the process lives
    os.chdir(request["folder"])
    known = set(sys.modules)
    try:
        if request["limit"] is None:
            return brickctl(request["arguments"])
        return count_and_kill(request["limit"], Path(request["report"]), lambda: brickctl(request["arguments"]))
    finally:
        _write(tell, "\n".join(set(sys.modules) - known).encode())


def leave(code: int) -> NoReturn:
    """End a child at once: tearing down all that was imported takes 0.7 s, and does nothing to the disk."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def brickctl(arguments: list[str]) -> int:
    """The command line in this process; the answer is its exit code."""
    from brickctl.cli.app import main as run

    sys.argv = ["brickctl", *arguments]
    return run()


if __name__ == "__main__":
    main()
