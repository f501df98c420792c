"""What a shell may complete: names that brick.toml declares. Whatever is wrong there, completion says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.cli.options import find_project
from brickctl.errors import BrickctlError

if TYPE_CHECKING:
    import click

    from brickctl.core.manifest import Manifest


def targets(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Names of targets."""
    del parameter
    return _begun(_manifest(context), "targets", begun)


def bricks(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Names of bricks."""
    del parameter
    return _begun(_manifest(context), "bricks", begun)


def _begun(manifest: Manifest | None, table: str, begun: str) -> list[str]:
    names = () if manifest is None else getattr(manifest, table)
    return [str(name) for name in names if name.startswith(begun)]


def _manifest(context: click.Context) -> Manifest | None:
    from brickctl.workflows.session import read_manifest

    try:
        return read_manifest(context.params.get("project") or find_project(Path.cwd()))
    except (BrickctlError, OSError):
        return None
