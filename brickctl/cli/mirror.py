"""`brickctl mirror serve`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.mirror.server import Mirror


@click.group(invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Offer vendored bricks to programs that know the Hugging Face Hub."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command("serve")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="one that is free", help="Port.")
@options.project_if_any
@options.console
def serve(*, folder: Path | None, host: str, port: int, project: Path | None, console: Console) -> None:
    """Serve what `brickctl vendor` wrote under the Hub's own protocol, until Ctrl-C.

    DIR is `vendor` in the project unless told otherwise. With the HF_ENDPOINT that is printed, vLLM, transformers and
    `hf` find the bricks by their names: those of the Hub at the commits and revisions of the lock, those of registries
    as `namespace/name` at their version, or at `main`. Nothing can be written, and no token is looked at.
    """
    from brickctl.sources.vendored import VENDOR
    from brickctl.workflows.mirror import open_mirror

    place = options.needed_project(project) / VENDOR if folder is None else folder.absolute()
    with open_mirror(place, console, host=host, port=port) as mirror:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends a service ends it as Ctrl-C does
        try:
            _tell(mirror, console)
            console.note(f"serving {place} at {mirror.url} until Ctrl-C")
            mirror.serve_forever()
        except KeyboardInterrupt:
            console.note("stopped")


def _tell(mirror: Mirror, console: Console) -> None:
    """What there is, and where."""
    served = [
        (repository.name, sorted(name for name, at in repository.refs.items() if at == commit), commit)
        for repository in mirror.shelf.repositories.values()
        for commit in repository.commits
    ]
    console.table(
        ("repository", "revisions", "commit"), [(name, ", ".join(names), commit) for name, names, commit in served]
    )
    console.show(f"HF_ENDPOINT={mirror.url}")
    rows = [{"name": name, "revisions": names, "commit": commit} for name, names, commit in served]
    console.announce({"url": mirror.url, "repositories": rows})
    if not mirror.is_local:
        console.note("whoever reaches this machine may read these bricks; nothing is encrypted")
