"""`brickctl audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@click.option("--strict", is_flag=True, help="Fail for warnings too.")
@options.project
@options.offline
@options.console
def command(*, strict: bool, project: Path, offline: bool, console: Console) -> None:
    """Look for what is known, by now, to be wrong with the bricks of brick.lock.

    Advisories of all registries, versions that were yanked or changed, licences that do not go together, bricks that
    were made for another commit of the base, files that run code when they are loaded, and rules of [policy]. Exit
    code 5 if something must not be used.
    """
    from brickctl.errors import AuditFailed
    from brickctl.workflows.audit import ERROR, audit
    from brickctl.workflows.session import open_session

    findings = audit(open_session(project, console, offline=offline))
    documents = tuple(finding.document() for finding in findings)
    for finding in findings:
        subject = f"`{finding.brick}`: " if finding.brick else ""
        console.show(f"{finding.level} ({finding.rule}): {subject}{finding.message}")
        console.show(f"  hint: {finding.hint}")
    failed = [finding for finding in findings if strict or finding.level == ERROR]
    if failed:
        error = AuditFailed(f"{_count(len(failed))} must not be used", hint="each is told above with what to do")
        error.findings = documents
        raise error
    console.answer({"findings": documents})
    if not findings:
        console.show("nothing is known to be wrong")


def _count(number: int) -> str:
    return "1 thing in brick.lock" if number == 1 else f"{number} things in brick.lock"
