"""Progress of long work, on stderr: bars on a terminal, a line for large work in a log, or nothing."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from brickctl.cli import output
from brickctl.core.ports import BYTES, Progress

if TYPE_CHECKING:
    import rich.progress

WORTH_A_LINE = 10_000_000
"""Bytes from which a piece of work is worth a line in a log."""


class Display(Progress, Protocol):
    """A progress display that shares stderr with messages. All methods may be called from any thread."""

    def say(self, text: str) -> None:
        """Write a message without harm to what is displayed."""

    def close(self) -> None:
        """Take everything that moves off the screen; `start` brings it back."""


def display(*, quiet: bool) -> Display:
    """The display for this run: bars only where a person watches."""
    if quiet:
        return Silence()
    watched = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return Bars() if watched and not in_ci() else Lines()


def in_ci() -> bool:
    """Whether the environment says that this is a continuous-integration run."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


class Silence:
    """No progress; messages only."""

    def start(self, label: str, total: int, unit: str = BYTES) -> None:
        """Show nothing."""

    def advance(self, label: str, amount: int) -> None:
        """Show nothing."""

    def finish(self, label: str) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Write a line."""
        output.say(text)

    def close(self) -> None:
        """Nothing to take away."""


class Lines(Silence):
    """One line when large work starts: what a log needs to show where a run stands."""

    def start(self, label: str, total: int, unit: str = BYTES) -> None:
        """Write a line, unless it is only a few bytes."""
        if unit != BYTES:
            self.say(f"{label} ({total:,} {unit})")
        elif total >= WORTH_A_LINE:
            from brickctl.core.sizes import format_size

            self.say(f"{label} ({format_size(total)})")


class Bars:
    """Moving bars, drawn by rich, which is imported when the first one starts."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._drawn: rich.progress.Progress | None = None
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def start(self, label: str, total: int, unit: str = BYTES) -> None:
        """Show a bar; one of the same label begins anew."""
        with self._lock:
            self.finish(label)
            if self._drawn is None:
                self._drawn = _bars()
                self._drawn.start()
            self._tasks[label] = self._drawn.add_task(label, total=total, unit=unit)

    def advance(self, label: str, amount: int) -> None:
        """Move a bar."""
        with self._lock:
            if self._drawn is not None and label in self._tasks:
                self._drawn.advance(self._tasks[label], amount)

    def finish(self, label: str) -> None:
        """Remove a bar."""
        with self._lock:
            if self._drawn is not None and label in self._tasks:
                self._drawn.remove_task(self._tasks.pop(label))

    def say(self, text: str) -> None:
        """Write a message above the bars."""
        with self._lock:
            if self._drawn is None:
                output.say(text)
            else:
                from rich.text import Text

                self._drawn.console.print(Text.from_ansi(text), soft_wrap=True)

    def close(self) -> None:
        """Remove all bars."""
        with self._lock:
            if self._drawn is not None:
                self._drawn.stop()
            self._drawn = None
            self._tasks.clear()


def _bars() -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _amount_column(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # rich would send our data to stderr
        redirect_stderr=False,
    )


def _amount_column() -> rich.progress.ProgressColumn:
    """How much is done: bytes as their size, anything else as a number and its unit."""
    from rich.progress import DownloadColumn, Task
    from rich.text import Text

    class Amount(DownloadColumn):
        def render(self, task: Task) -> Text:
            if task.fields["unit"] == BYTES:
                return super().render(task)
            return Text(f"{task.completed:,.0f}/{task.total or 0:,.0f} {task.fields['unit']}", "progress.download")

    return Amount()
