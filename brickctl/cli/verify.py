"""`brickctl verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--load", is_flag=True, help="Also let transformers load each artifact, without its data.")
@options.project_if_any
@options.console
def command(*, path: Path | None, load: bool, project: Path | None, console: Console) -> None:
    """Read every byte again and compare it with the promise.

    Bricks are compared with the lock, artifacts with their own record and with the lock. With PATH, one artifact with
    its own record; no project is needed.
    """
    from brickctl.core.sizes import format_size
    from brickctl.workflows import verify
    from brickctl.workflows.session import open_session

    if path is not None:
        results: tuple[verify.Verified, ...] = (verify.verify_artifact(path.absolute(), console),)
        folders = [path]
    else:
        session = open_session(options.needed_project(project), console, offline=True)
        results = verify.verify_project(session)
        folders = [Path(result.name) for result in results if Path(result.name).is_absolute()]
    if load:
        for folder in folders:
            verify.load_on_meta(folder)
    rows = [
        {"name": result.name, "files": result.files, "bytes": result.bytes, "digest": f"sha256:{result.digest}"}
        for result in results
    ]
    console.answer({"verified": rows, "loaded": load})
    for result in results:
        console.show(f"{result.name}: verified  {result.files} files, {format_size(result.bytes)}")
