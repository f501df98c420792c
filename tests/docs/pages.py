"""Pages of the documentation as something that runs: their blocks in order, in one folder and one shell.

A block of `bash` goes to the shell, a block of `python` to Python, in the folder where the shell then is. A block of
`text` straight after one shows what it prints on both streams; there, `...` stands for anything. A block after the
comment `<!-- in the background -->` serves until the page ends, and one after `<!-- not run: why -->` is left out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]

PERCENT = 1.0
"""Points by which a measured percentage may differ from the page: one answer of 120, on another CPU."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_NOT_RUN = re.compile(r"<!-- not run: ([^>]+) -->\s*\Z")
_BACKGROUND = re.compile(r"<!-- in the background -->\s*\Z")
_SERVE = """\
({code}) > '{log}' 2>&1 &
served="${{served:-}} $!"
trap 'kill $served' EXIT
until grep -q . '{log}'; do kill -0 $!; sleep 0.1; done
cat '{log}'
"""
_MEASURED = re.compile(r"(\d+\.\d)%")
_RUNNABLE = {"bash", "python"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block that runs: its language, its code, the line where it begins, and what it should print, if told."""

    language: str
    code: str
    line: int
    printed: str | None
    serves: bool = False


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page that run."""
    found = list(_FENCE.finditer(text))
    for at, fence in enumerate(found):
        if fence[1] not in _RUNNABLE or _NOT_RUN.search(text, 0, fence.start()):
            continue
        after = found[at + 1] if at + 1 < len(found) else None
        shown = after is not None and after[1] == "text" and not text[fence.end() : after.start()].strip()
        line = text.count("\n", 0, fence.start()) + 1
        yield Block(
            language=fence[1],
            code=fence[2],
            line=line,
            printed=after[2] if shown and after else None,
            serves=_BACKGROUND.search(text, 0, fence.start()) is not None,
        )


def fences(text: str) -> Iterator[tuple[str, str, str | None]]:
    """Every block of a page: its language, what is in it, and why it is not run, if the page says so."""
    for fence in _FENCE.finditer(text):
        reason = _NOT_RUN.search(text, 0, fence.start())
        yield fence[1], fence[2], reason and reason[1]


def marked(text: str, language: str) -> list[str]:
    """The contents of all blocks of a language."""
    return [fence[2] for fence in _FENCE.finditer(text) if fence[1] == language]


def run(page: Path, folder: Path, environment: Mapping[str, str], *, first: Path | None = None) -> None:
    """Run a page in a folder; fails at the block that fails, or that prints something else than the page says.

    Commands are looked for in the folder `first`, if there is one, and then beside this Python.
    """
    todo = list(blocks(page.read_text(encoding="utf-8")))
    script = "set -euo pipefail\n" + "\n".join(_step(number, block, folder) for number, block in enumerate(todo))
    places = (first, Path(sys.executable).parent, environment["PATH"])
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", script],
        cwd=folder,
        env={**environment, "PATH": ":".join(str(place) for place in places if place is not None)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    outputs = re.split(r"^@@ block \d+ @@\n", done.stdout, flags=re.MULTILINE)[1:]
    for block, output in zip(todo, outputs, strict=False):
        where = f"{page.relative_to(ROOT)} line {block.line}"
        if block.printed is not None and not fits(output, block.printed):
            pytest.fail(f"{where} says:\n{block.printed}\nand it prints:\n{output}")
    if done.returncode:
        block = todo[len(outputs) - 1]
        where = f"{page.relative_to(ROOT)} line {block.line}"
        pytest.fail(f"{where} ends with exit code {done.returncode}:\n{block.code}\n{outputs[-1]}")


def _step(number: int, block: Block, folder: Path) -> str:
    """The lines of the script that run one block."""
    if block.serves:
        log = folder.parent / f"{folder.name}-block-{number}.log"
        return f"echo '@@ block {number} @@'\n" + _SERVE.format(code=block.code.rstrip(), log=log)
    if block.language == "bash":
        return f"echo '@@ block {number} @@'\n{block.code}"
    script = folder.parent / f"{folder.name}-block-{number}.py"
    script.write_text(block.code, encoding="utf-8")
    return f"echo '@@ block {number} @@'\npython '{script}'"


def fits(output: str, printed: str) -> bool:
    """Whether an output is what a page shows; spaces within a line do not count."""
    return _fit(output.split("\n"), printed.split("\n"), _same_line)


def _fit(found: Sequence[str], shown: Sequence[str], same: Callable[[str, str], bool]) -> bool:
    """Match two sequences, an entry `...` of `shown` standing for any number of entries."""
    if not shown:
        return not found
    if shown[0].strip() == "...":
        return any(_fit(found[at:], shown[1:], same) for at in range(len(found) + 1))
    return bool(found) and same(found[0], shown[0]) and _fit(found[1:], shown[1:], same)


def _same_line(found: str, shown: str) -> bool:
    return _fit(found.split(), shown.split(), _same_word)


def _same_word(found: str, shown: str) -> bool:
    measured, told = _MEASURED.fullmatch(found), _MEASURED.fullmatch(shown)
    if measured is not None and told is not None:
        return abs(float(measured[1]) - float(told[1])) <= PERCENT
    return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), found) is not None
