"""The console that a verb is given: data on stdout, messages and progress on stderr."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import output
from brickctl.cli.progress import display
from brickctl.core.ports import BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self


class Console:
    """Implements `core.ports.Events` for workflows, and prints what a verb answers.

    With `as_json`, stdout has exactly one line: what `answer` was given, once the verb is done, or the failure of the
    verb. Otherwise it has what `show` and `table` write. A verb calls all of them and need not ask which is wanted.
    What people read has no character that a terminal would obey. `quiet` silences notes and progress, never warnings.
    The methods of `Events` may be called from any thread.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._display = display(quiet=quiet)
        self._answer: str | None = None
        self._is_mid_line = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if raised is None and self._answer is not None:
            output.write(self._answer)

    def close(self) -> None:
        """Take all progress off the screen."""
        self._display.close()

    def answer(self, fields: Mapping[str, Any]) -> None:
        """The result for programs: one JSON object on stdout under `--json` if nothing fails after it; call it once."""
        if self.as_json:
            self._answer = output.succeeded(fields)

    def announce(self, fields: Mapping[str, Any]) -> None:
        """As `answer`, and at once: for a verb that then goes on until it is stopped. Nothing may fail after it."""
        if self.as_json:
            output.write(output.succeeded(fields))

    def show(self, text: str) -> None:
        """The result for people: text on stdout, or nothing under `--json`."""
        if not self.as_json:
            self._write(output.plain(text))

    def stream(self, piece: str) -> None:
        """The next piece of a text for people, at once and without a line break behind it; nothing under `--json`."""
        if not self.as_json and piece:
            self._display.close()
            output.write_piece(output.tabbed(piece))
            self._is_mid_line = not piece.endswith("\n")

    def end_stream(self) -> None:
        """Nothing more comes: end the line, if one has begun."""
        if self._is_mid_line:
            output.write_piece("\n")
            self._is_mid_line = False

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """The result for people as aligned columns; without a row, nothing but the head is written."""
        if not self.as_json:
            self._write("\n".join(aligned(columns, rows)))

    def start(self, label: str, total: int, unit: str = BYTES) -> None:
        """Begin a piece of work of `total` units."""
        self._display.start(output.one_line(label), total, unit)

    def advance(self, label: str, amount: int) -> None:
        """`amount` more units of a piece of work are done."""
        self._display.advance(output.one_line(label), amount)

    def finish(self, label: str) -> None:
        """A piece of work is done."""
        self._display.finish(output.one_line(label))

    def note(self, message: str) -> None:
        """Say something on stderr, unless `--quiet`."""
        if not self.quiet:
            self._display.say(output.plain(message))

    def warn(self, message: str) -> None:
        """Say something on stderr that the user should look at, even with `--quiet`."""
        self._display.say(f"{click.style('warning:', fg='yellow', bold=True)} {output.plain(message)}")

    def _write(self, text: str) -> None:
        self._display.close()  # bars and data may share one terminal
        output.write(text)


def aligned(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table: a bold head, then the rows, cells padded to their column, two spaces between.

    `strict` alignment: every row must have as many cells as there are columns.
    """
    body = [tuple(map(output.one_line, row)) for row in rows]
    widths = [max(map(len, cells)) for cells in zip(columns, *body, strict=True)]
    head, *lines = (_line(cells, widths) for cells in itertools.chain([tuple(columns)], body))
    return [click.style(head, bold=True), *lines]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
