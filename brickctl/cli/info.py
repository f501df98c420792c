"""`brickctl info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import options
from brickctl.errors import NotFound

if TYPE_CHECKING:
    from brickctl.cli.console import Console


def _project_or_none(context: click.Context, parameter: click.Parameter, folder: Path | None) -> Path | None:
    """As `options.project`, but none is needed."""
    del parameter
    if folder is not None and not context.resilient_parsing and not (folder / options.MANIFEST).is_file():
        raise NotFound(f"no {options.MANIFEST} in {folder}", hint="`brickctl init` starts a project")
    try:
        return options.find_project(Path.cwd()) if folder is None else folder.absolute()
    except NotFound:
        return None


@click.command()
@click.argument("brick")
@click.option(
    "--project",
    type=click.Path(path_type=Path),
    metavar="DIR",
    callback=_project_or_none,
    help="Folder of brick.toml.  [default: here, or the nearest folder above, if there is one]",
)
@options.offline
@options.console
def command(*, brick: str, project: Path | None, offline: bool, console: Console) -> None:
    """Show what BRICK is: kind, rank, tensors, size, licence, base. Reads no weights.

    BRICK is a name of the project, `base`, or a reference: `hf:owner/name[@revision]`, `./folder`, `namespace/name`.
    """
    from brickctl.workflows.describe import describe

    document = describe(project, brick, console, offline=offline).document()
    console.answer(document)
    told = {key: _words(key, value) for key, value in document.items() if value not in (None, [], {})}
    width = max(map(len, told))
    console.show("\n".join(f"{key:<{width}}  {value}" for key, value in told.items()))


def _words(key: str, value: Any) -> str:
    from brickctl.core.sizes import format_size

    if key == "size":
        return format_size(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} ({count})" for name, count in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
