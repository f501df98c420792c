"""Text of four kinds to analyse a real model with, of what Debian and Python bring: prose, French, code, arithmetic.

Prose and French are one handbook, the Debian Developer's Reference and its translation: so what tells them apart is the
language and not the subject. Fetched by `apt-get download`, unpacked without root, and cut into paragraphs.
"""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sysconfig
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HANDBOOK = {"prose": "developers-reference", "french": "developers-reference-fr"}
MODULES = ("argparse", "calendar", "configparser", "csv", "difflib", "fractions", "shutil", "statistics", "textwrap")
SHORTEST, LONGEST = 250, 1200
"""Characters of one text."""


def texts(scratch: Path) -> Mapping[str, Sequence[str]]:
    """Texts by kind, in an order that has nothing to do with where they stood."""
    found = {kind: list(dict.fromkeys(_paragraphs(scratch, package))) for kind, package in HANDBOOK.items()}
    found["french"] = [text for text in found["french"] if text not in found["prose"]]  # a few were never translated
    found["code"] = list(_functions())
    found["arithmetic"] = list(_sums(400))
    for kind, every in found.items():
        random.Random(kind).shuffle(every)  # noqa: S311 - no secret
    return found


def write_labelled(path: Path, chosen: Mapping[str, Sequence[str]]) -> Path:
    """JSON lines of {"text", "label"}."""
    lines = (json.dumps({"text": text, "label": kind}) for kind, every in chosen.items() for text in every)
    path.write_text("\n".join(lines) + "\n")
    return path


def halves(found: Mapping[str, Sequence[str]]) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]]:
    """One half to calibrate on and another to measure on."""
    return {kind: every[::2] for kind, every in found.items()}, {kind: every[1::2] for kind, every in found.items()}


def _paragraphs(scratch: Path, package: str) -> Iterator[str]:
    unpacked = scratch / package
    if not unpacked.is_dir():
        scratch.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=scratch, check=True, capture_output=True)  # noqa: S607
        (archive,) = scratch.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)  # noqa: S607
    (page,) = unpacked.rglob("developers-reference.html")
    parser = _Paragraphs()
    parser.feed(page.read_text())
    yield from (text for text in parser.found if len(text) >= SHORTEST)


class _Paragraphs(HTMLParser):
    """The text of each <p>, in one line."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        if tag == "p":
            self._open = []

    def handle_endtag(self, tag: str) -> None:
        if tag == "p" and self._open is not None:
            self.found.append(" ".join("".join(self._open).split())[:LONGEST])
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self._open.append(data)


def _functions() -> Iterator[str]:
    for module in MODULES:
        source = Path(sysconfig.get_paths()["stdlib"], f"{module}.py").read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                text = ast.get_source_segment(source, node) or ""
                if len(text) >= SHORTEST:
                    yield text[:LONGEST]


def _sums(count: int) -> Iterator[str]:
    drawn = random.Random(0)  # noqa: S311 - no secret
    for _ in range(count):
        lines = []
        for _ in range(16):
            left, right, sign = drawn.randint(2, 99), drawn.randint(2, 99), drawn.choice("+-*")
            lines.append(f"{left} {sign} {right} = {_value(left, sign, right)}")
        yield "\n".join(lines)


def _value(left: int, sign: str, right: int) -> int:
    return left + right if sign == "+" else left - right if sign == "-" else left * right
