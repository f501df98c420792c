"""`brickctl licenses`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@options.project
@options.console
def command(*, project: Path, console: Console) -> None:
    """List the licence of every brick, and of the whole of every target.

    Says which licences do not go together in a target; `brickctl audit` fails for them. Uses no network.
    """
    from brickctl.workflows.licenses import licenses
    from brickctl.workflows.session import open_session

    found = licenses(open_session(project, console, offline=True))
    console.answer(
        {
            "bricks": [{"name": name, "license": license_name} for name, license_name in found.bricks.items()],
            "targets": [dataclasses.asdict(chain) for chain in found.chains],
        }
    )
    console.table(("brick", "licence"), list(found.bricks.items()))
    if found.chains:
        console.show("")
        console.table(("target", "licence of the whole"), [(chain.target, chain.license) for chain in found.chains])
    for chain in found.chains:
        for clash in chain.clashes:
            console.warn(f"`{clash.first}` and `{clash.second}` in [targets.{chain.target}]: {clash.reason}")
