"""`brickctl doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brickctl.cli.console import Console
    from brickctl.workflows.doctor import Finding


@click.command()
@options.project_if_any
@options.offline
@options.console
def command(*, project: Path | None, offline: bool, console: Console) -> None:
    """Look for what is broken or slow: packages, caches, disks, hashing, the Hub.

    Writes some small files into the folders of the caches and of the project, for a second at most, and removes them.
    Sends one request. Exit code 1 if something is broken that installs or builds need; what is slow does not fail.
    """
    from brickctl.workflows.caches import caches_of
    from brickctl.workflows.doctor import examine

    findings = tuple(examine(caches_of(project), project, offline=offline))
    console.table(("", "state", "found"), [(each.name, each.status, each.detail) for each in findings])
    advised = [f"{each.name} ({each.status}): {each.advice}" for each in findings if each.advice is not None]
    if advised:
        console.show("\n" + "\n".join(advised))
    _fail_if_broken(findings)
    console.answer({"findings": [each.document() for each in findings]})


def _fail_if_broken(findings: Sequence[Finding]) -> None:
    """Raise Unhealthy with what is broken."""
    from brickctl.errors import Unhealthy

    broken = [each for each in findings if each.status == "broken"]
    if not broken:
        return
    causes = tuple(f"{each.name}: {each.detail}" for each in broken)
    many = "1 thing is broken" if len(broken) == 1 else f"{len(broken)} things are broken"
    hint = broken[0].advice if len(broken) == 1 else f"begin with {broken[0].name}: {broken[0].advice}"
    failed = Unhealthy(f"{many} that installs or builds need", causes=causes, hint=hint)
    failed.findings = tuple(each.document() for each in findings)
    raise failed
