"""The pictures show what a terminal shows now, and nothing of the machine on which they were drawn."""

from __future__ import annotations

import html
import importlib
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.pages import ROOT, fits, marked

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "docs/pictures"
FILES = sorted(FOLDER.glob("*.svg"))
_TEXT = re.compile(r'<text class="[\w-]+" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>')


@pytest.fixture(scope="module")
def pictures() -> Any:
    """docs/pages/pictures.py, which is a script's module and no package's."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module("pages.pictures")
    finally:
        sys.path.remove(str(ROOT / "docs"))


def lines(svg: str) -> str:
    """The text of a terminal, line by line, or that of a graph, piece by piece."""
    if "clip-path" not in svg:
        return "\n".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg)) + "\n"
    rows: dict[float, str] = {}
    for _, y, text in _TEXT.findall(svg):
        rows[float(y)] = rows.get(float(y), "") + html.unescape(text).replace("\xa0", " ")
    return "\n".join(line.rstrip() for line in rows.values()).strip() + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_picture_loads_nothing_and_tells_nothing_of_the_machine(path: Path) -> None:
    svg = path.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"<]+", svg)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    assert not re.search(r"url\((?!#)|/tmp/|/home/|/root/|<script", svg)


def test_the_picture_of_skills_has_the_table_of_the_readme() -> None:
    table = next(text for text in marked((ROOT / "README.md").read_text(encoding="utf-8"), "text") if "upper  " in text)
    assert fits(lines((FOLDER / "skills.svg").read_text(encoding="utf-8")), f"$ brickctl test --bricks\n...\n{table}")


@pytest.mark.full
def test_the_other_pictures_show_what_the_commands_print_now(pictures: Any) -> None:
    chosen = [picture for picture in pictures.PICTURES if picture.name != "skills"]
    drawn = pictures.pictures(chosen)
    assert {*drawn, "skills.svg"} == {path.name for path in FILES}
    for name, svg in drawn.items():
        shown = lines((FOLDER / name).read_text(encoding="utf-8"))
        assert fits(lines(svg), shown), f"{name} is stale: run `python docs/generate.py --pictures`\n{lines(svg)}"
