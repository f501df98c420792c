"""The recipe as a graph: the base above, the steps below one another, beside each its bricks, and what comes out.

Widths are shares of the place that the graph gets, heights are pixels: so its letters stay as large as they are on a
narrow screen, and only what joins the boxes becomes longer on a wide one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from brickctl.pages.colours import named
from brickctl.pages.numerals import several

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.pages.target.contents import Report, Step, Use

_LEFT, _BUS, _RIGHT, _SPINE = 46, 50, 54, 77  # per cent: end of the bricks, joint, begin of the steps, their middle
_PADDING, _LINE, _GAP, _ARROW = 9, 17, 10, 5  # pixels
_BETWEEN = 26  # pixels between two steps
_LETTERS, _SMALL_LETTERS = 21, 25  # of a line: what fits into a box on a screen of 400 pixels
_MOST_LINES = 4
_COMMA = re.compile(r"(?<=, )")
_BREAK = re.compile(r"(?<=[-_/: ])")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """A box of the graph: its lines of text, the first ones, `bold`, in bold, and how it is drawn."""

    lines: tuple[str, ...]
    bold: int
    look: str
    whole: str

    @property
    def height(self) -> int:
        return 2 * _PADDING + _LINE * len(self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Height:
    """How far down the graph has come: the last box among the steps, and everything."""

    box: int
    whole: int


def graph(report: Report) -> ET.Element:
    """The graph as an element of a page."""
    root = ET.Element("svg", {"class": "graph", "role": "img", "aria-label": describes(report), "width": "100%"})
    at = _Height(box=0, whole=-_BETWEEN)
    at = _spine(root, _box("base", report.base.name, report.base.source), at)
    target = report.steps[0].target if report.steps else report.target
    kinds = {brick.name: brick.kind or "not locked" for brick in (report.base, *report.bricks)}
    for step in report.steps:
        if step.target != target:
            at = _spine(root, _box("target", target, "target"), at)
            target = step.target
        at = _step(root, step, kinds, at)
    at = _spine(root, _box("target", report.target, "target"), at)
    root.set("height", str(at.whole + 1))
    return root


def describes(report: Report) -> str:
    """The graph for somebody who cannot see it."""
    said = "; ".join(f"{step.title}{_with(step.uses)}" for step in report.steps)
    begins = f"{report.target} begins with {report.base.source}"
    return f"{begins}, and has {several(len(report.steps), 'step')}: {said}." if said else f"{begins}, as it is."


def _with(uses: Sequence[Use]) -> str:
    return f" of {', '.join(' '.join((use.brick, *use.words)) for use in uses)}" if uses else ""


def _step(root: ET.Element, step: Step, kinds: dict[str, str], above: _Height) -> _Height:
    """A step and its bricks, which are as high as they are many; the step stands at their middle."""
    bricks = [_box("brick", use.brick, ", ".join((kinds.get(use.brick, ""), *use.words))) for use in step.uses]
    box = _box("step", step.title, ", ".join(step.words))
    tall = sum(one.height for one in bricks) + _GAP * max(0, len(bricks) - 1)
    height, top = max(tall, box.height), above.whole + _BETWEEN
    own = top + (height - box.height) // 2
    at, joints = top + (height - tall) // 2, []
    for one in bricks:
        _draw(root, one, 0, _LEFT, at)
        joints.append(at + one.height // 2)
        at += one.height + _GAP
    _joined(root, joints, own + box.height // 2)
    _arrow(root, above.box, own)
    _draw(root, box, _RIGHT, 100 - _RIGHT, own)
    return _Height(box=own + box.height, whole=top + height)


def _joined(root: ET.Element, joints: Sequence[int], middle: int) -> None:
    """Lines from the bricks to their step."""
    if not joints:
        return
    for joint in joints:
        _line(root, (_LEFT, joint), (_BUS, joint))
    ends = (*joints, middle)
    if min(ends) != max(ends):
        _line(root, (_BUS, min(ends)), (_BUS, max(ends)))
    _line(root, (_BUS, middle), (_RIGHT, middle))


def _spine(root: ET.Element, box: _Box, above: _Height) -> _Height:
    """A box among the steps that has no bricks."""
    top = above.whole + _BETWEEN
    if top:
        _arrow(root, above.box, top)
    _draw(root, box, _RIGHT, 100 - _RIGHT, top)
    return _Height(box=top + box.height, whole=top + box.height)


def _arrow(root: ET.Element, begin: int, end: int) -> None:
    """Down along the steps."""
    _line(root, (_SPINE, begin), (_SPINE, end - _ARROW))
    tip = ET.SubElement(root, "svg", {"x": f"{_SPINE}%", "y": str(end), "width": "1", "height": "1", "class": "tip"})
    ET.SubElement(tip, "path", {"d": f"M-{_ARROW} -{2 * _ARROW}L{_ARROW} -{2 * _ARROW}L0 0Z", "fill": named("muted")})


def _box(look: str, name: str, *more: str) -> _Box:
    title = _wrapped(name, _LETTERS)
    rest = [line for text in more if text for line in _wrapped(text, _SMALL_LETTERS)]
    whole = ", ".join(text for text in (name, *more) if text)
    return _Box(lines=(*title, *rest), bold=len(title), look=look, whole=whole)


def _draw(root: ET.Element, box: _Box, left: int, width: int, top: int) -> None:
    """A box with its text, which is cut off at its edges."""
    place = {"x": f"{left}%", "y": str(top), "width": f"{width}%", "height": str(box.height)}
    group = ET.SubElement(root, "svg", place)
    ET.SubElement(group, "title").text = box.whole
    edge = {"x": "0.5", "y": "0.5", "width": "100%", "height": str(box.height - 1), "rx": "4"}
    ET.SubElement(group, "rect", {**edge, "class": box.look, "style": "width: calc(100% - 1px)"})
    for number, text in enumerate(box.lines):
        baseline = _PADDING + _LINE * number + 13
        bold = {"class": "name"} if number < box.bold else {"class": "meta"}
        ET.SubElement(group, "text", {"x": "10", "y": str(baseline), **bold}).text = text


def _line(root: ET.Element, begin: tuple[int, int], end: tuple[int, int]) -> None:
    ends = {"x1": f"{begin[0]}%", "y1": str(begin[1]), "x2": f"{end[0]}%", "y2": str(end[1])}
    ET.SubElement(root, "line", {**ends, "stroke": named("muted"), "stroke-width": "1.5"})


def _wrapped(text: str, most: int) -> tuple[str, ...]:
    """Lines of at most so many letters, broken behind commas, or else where names may be; too many are cut off."""
    pieces = [piece for part in _COMMA.split(text) for piece in (_BREAK.split(part) if len(part) > most else (part,))]
    lines = list(_lines(pieces, most))
    if len(lines) > _MOST_LINES:
        return (*lines[: _MOST_LINES - 1], f"{lines[_MOST_LINES - 1][: most - 1]}\N{HORIZONTAL ELLIPSIS}")
    return tuple(lines)


def _lines(pieces: Sequence[str], most: int) -> Iterator[str]:
    line = ""
    for piece in pieces:
        rest = piece
        if line and len(line) + len(rest.rstrip()) > most:
            yield line.rstrip()
            line = ""
        while len(rest.rstrip()) > most:
            yield rest[:most]
            rest = rest[most:]
        line += rest
    if line:
        yield line.rstrip()
