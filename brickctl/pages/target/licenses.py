"""The licences of the whole chain, and whether they can all be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.pages.figure import Numbers
from brickctl.pages.numerals import listed
from brickctl.pages.target.parts import Part

if TYPE_CHECKING:
    from brickctl.pages.target.contents import Report

_UNKNOWN = "unknown"
_LEAD = "What is built of several bricks has to keep the licences of all of them. This is no legal advice."


def licenses(report: Report) -> Part:
    """The verdict, and the licence of each brick."""
    everyone = (report.base, *report.bricks)
    rows = tuple((brick.name, brick.license, brick.source) for brick in everyone)
    clashes = tuple(f"{one.first} and {one.second} do not go together: {one.reason}." for one in report.clashes)
    return Part(
        name="licences",
        title="Licences",
        lead=_LEAD,
        says=_verdict(report),
        warnings=clashes,
        tables=(
            Numbers(
                caption="Licence of each brick",
                columns=("brick", "licence", "source"),
                rows=rows,
                words=("licence", "source"),
            ),
        ),
    )


def _verdict(report: Report) -> str:
    everyone = (report.base, *report.bricks)
    if any(brick.digest is None for brick in everyone):
        return "The licence of the whole is not known before everything is locked: run `brickctl lock`."
    unknown = [brick.name for brick in everyone if brick.license == _UNKNOWN]
    if unknown:
        return f"The licence of the whole is not known: nobody says what that of {listed(unknown)} is."
    whole = f"The licence of the whole is {report.license}."
    if report.clashes:
        return f"{whole} Not all of it can be kept."
    several = len(dict.fromkeys(brick.license for brick in everyone)) > 1
    return f"{whole} No two licences in it contradict each other." if several else whole
