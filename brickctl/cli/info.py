"""`brickctl info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import options, output, suggestions

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console


@click.command()
@click.argument("brick", shell_complete=suggestions.bricks_or_folders)
@options.project_if_any
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
    console.show("\n".join(f"{key:<{width}}  {output.one_line(value)}" for key, value in told.items()))


def _words(key: str, value: Any) -> str:
    from brickctl.core.sizes import format_size

    if key == "size":
        return format_size(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} ({count})" for name, count in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
