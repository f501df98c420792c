"""Results as JUnit XML, which CI servers show: a suite for each target, a case for each check.

It has no times: equal results give equal bytes. It fits the schema that Jenkins publishes, of which the others read
parts. A missed bar is a failure; a check that can be held against nothing is an error.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from brickctl.errors import UsageFault
from brickctl.workflows.checking.telling import bar, figure, missed, worst
from brickctl.workflows.files import refuse_file_in_the_way

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brickctl.workflows.checking.score import Score


_HEAD = 2_000  # bytes, within which a report has begun


def check_place(path: Path) -> None:
    """Make sure, before minutes of measuring, that a report may be written there: over nothing, or another report.

    Raises:
        UsageFault: there is something else, or the folder cannot be one.
    """
    refuse_file_in_the_way(path.parent)
    if path.exists() and not (path.is_file() and _is_report(path)):
        hint = "name another file, or move it away; brickctl never replaces it"
        raise UsageFault(f"{path} will not be replaced", causes=("it exists, and is no JUnit XML",), hint=hint)


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return not head.strip() or b"<testsuite" in head  # pipelines may have made an empty file before


def junit(project: str, scores: Sequence[Score]) -> bytes:
    """The report about the targets of a project, for the scores that are about their own target."""
    root = ET.Element("testsuites", {"name": _legal(project)})
    for target, own in groupby((score for score in scores if score.gates), key=lambda score: score.model):
        root.append(_suite(target, list(own)))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _suite(target: str, scores: Sequence[Score]) -> ET.Element:
    errors = sum(score.doubt is not None for score in scores)
    failures = sum(not score.passed for score in scores) - errors
    counts = {"tests": str(len(scores)), "failures": str(failures), "errors": str(errors)}
    suite = ET.Element("testsuite", {"name": target, **counts})
    suite.extend(_case(score) for score in scores)
    return suite


def _case(score: Score) -> ET.Element:
    case = ET.Element("testcase", {"name": score.check.name, "classname": score.model})
    if not score.passed:
        tag, kind = ("failure", "missed") if score.doubt is None else ("error", "not-comparable")
        found = ET.SubElement(case, tag, {"type": kind, "message": _legal(missed(score))})
        found.text = _legal("\n".join(worst(score)))
    ET.SubElement(case, "system-out").text = _legal(_summary(score))
    return case


def _summary(score: Score) -> str:
    """What was reached, over how much, and the bar."""
    counted = "tokens" if score.check.measured.kind.unit == "perplexity" else "examples"
    return f"{score.check.kind_name}: {figure(score)} over {score.count} {counted}, bar {bar(score)}"


def _legal(text: str) -> str:
    """A text without what XML has no place for: control characters, halves of surrogate pairs and the like, escaped."""
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)
