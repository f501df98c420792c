"""`brickctl yank`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@click.argument("release", metavar="NAMESPACE/NAME@VERSION")
@options.checkout
@click.option("--undo", is_flag=True, help="Let the version be chosen again.")
@options.console
def command(*, release: str, checkout: Path, undo: bool, console: Console) -> None:
    """Take a published version back.

    It is not chosen any more. Projects that have locked it keep it, and `brickctl audit` tells them. Only the line of
    that version changes in DIR, a checkout of the registry.
    """
    from brickctl.sources.checkout import Checkout
    from brickctl.workflows.publishing import own_ledger
    from brickctl.workflows.release import parse_release
    from brickctl.workflows.yank import yank

    name, version = parse_release(release)
    entry, written = yank(Checkout(checkout.absolute(), own_ledger(console)), name, version, console, undo=undo)
    console.answer({"name": entry.name, "version": entry.version, "yanked": entry.yanked, "written": written})
    state = "yanked" if entry.yanked else "not yanked"
    console.show(f"{entry.name} {entry.version} is {state}{'' if written else ' already'}")
    if written and entry.yanked:
        console.note("projects that have locked it keep it; `brickctl audit` tells them")
    if written:
        console.note(f"next: commit index/{entry.name} in {checkout} and push it")
