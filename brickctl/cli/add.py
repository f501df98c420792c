"""`brickctl add`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions
from brickctl.cli.changes import change_documents, show_changes

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@click.argument("reference", shell_complete=suggestions.folders)
@click.option("--name", metavar="ALIAS", help="How brick.toml calls the brick.  [default: the last part of REFERENCE]")
@click.option("--kind", help="Say the kind instead of letting the files say it.")
@click.option("--revision", help="Branch, tag or commit of a Hub repository.")
@click.option("--subfolder", metavar="DIR", help="Folder of the brick inside its source.")
@click.option(
    "--registry",
    metavar="NAME",
    shell_complete=suggestions.registries,
    help="Registry to ask instead of the project's default.",
)
@click.option("--license", "license_name", metavar="SPDX", help="Licence, where the source does not say it.")
@options.project
@options.offline
@options.console
def command(
    *,
    reference: str,
    name: str | None,
    kind: str | None,
    revision: str | None,
    subfolder: str | None,
    registry: str | None,
    license_name: str | None,
    project: Path,
    offline: bool,
    console: Console,
) -> None:
    """Add a brick to brick.toml and lock it.

    REFERENCE is `hf:owner/name[@revision]`, `./folder` or `/folder`, or `namespace/name[@range]` in a registry; without
    a range the newest version becomes `^newest`. If the brick does not fit the base, nothing is changed.
    """
    from brickctl.workflows.add_and_remove import add
    from brickctl.workflows.requirement import Asked
    from brickctl.workflows.session import open_session

    asked = Asked(
        reference=reference,
        kind=kind,
        revision=revision,
        subfolder=subfolder,
        registry=registry,
        license=license_name,
    )
    edited = add(open_session(project, console, offline=offline), asked, name)
    console.answer({"name": edited.names[0], "changes": change_documents(edited.changes)})
    show_changes(console, edited.changes)
    if not edited.changes:
        console.show(f"nothing to do: `{edited.names[0]}` is in brick.toml already")
