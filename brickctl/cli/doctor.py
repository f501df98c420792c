"""`brickctl doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options
from brickctl.errors import BrickctlError

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@options.project_if_any
@options.offline
@options.console
def command(*, project: Path | None, offline: bool, console: Console) -> None:
    """Look at what brickctl needs here: versions, caches, disks, the Hub; say what is broken or slow, and why."""
    from brickctl.workflows.doctor import examine

    findings = examine(project, console, offline=offline)
    rows = [{"what": one.what, "state": one.state, "found": one.found, "advice": one.advice} for one in findings]
    console.answer({"findings": rows})
    console.table(("", "state", "found"), ((one.what, one.state, one.found) for one in findings))
    advised = [one for one in findings if one.advice is not None]
    console.show("\n".join(f"{one.what}: {one.advice}" for one in advised) or "nothing to do")
    broken = [one for one in findings if one.state == "broken"]
    if broken:
        causes = tuple(f"{one.what}: {one.found}" for one in broken)
        raise BrickctlError("something that installs or builds need is broken", causes=causes, hint=broken[0].advice)
