"""The file of a report: written whole or not at all, and never over something that is no report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.errors import UsageFault
from brickctl.pages.rendering import check_packages
from brickctl.sources.atomic import write_atomically
from brickctl.workflows.files import refuse_file_in_the_way

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.pages.target.contents import Report

FOLDER = "reports"
_MARK = b'<meta name="generator" content="brickctl '
_HEAD = 2_000  # bytes, within which a page of ours says who made it


def check_place(path: Path) -> None:
    """Make sure that a report can be made, and may be written there: nothing, or a page that brickctl has made.

    Raises:
        UsageFault: there is something else, or the folder cannot be one.
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    check_packages()
    refuse_file_in_the_way(path.parent)
    if path.is_dir():
        raise UsageFault(f"{path} is a folder", hint="name a file: `-o report.html`")
    if path.is_symlink() or (path.exists() and not _is_ours(path)):
        cause = "it is a link" if path.is_symlink() else "it exists, and is no page of brickctl"
        hint = "choose another place with --output, or move it away; brickctl never replaces it"
        raise UsageFault(f"{path} will not be replaced", causes=(cause,), hint=hint)


def write_report(path: Path, report: Report) -> int:
    """Write the page of a report; gives its bytes.

    Raises:
        UsageFault: as `check_place`.
        Unsupported: the packages of `brickctl[report]` are not installed.
    """
    from brickctl.pages.target.page import page

    check_place(path)
    content = page(report).encode(errors="replace")  # half a surrogate pair, out of some JSON
    write_atomically(path, content)
    return len(content)


def _is_ours(path: Path) -> bool:
    if not path.is_file():  # a pipe would be waited for
        return False
    with path.open("rb") as file:
        return _MARK in file.read(_HEAD)
