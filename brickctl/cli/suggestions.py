"""What a shell offers when Tab is pressed: names of brick.toml, and folders.

Each is a `shell_complete` of click. Whatever is wrong with the project, nothing is offered and nothing is said: the
command that is being typed will say it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from brickctl.cli.options import MANIFEST, find_project

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click

    from brickctl.core.manifest import Manifest


def targets(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The targets of the project."""
    manifest = _manifest(context)
    return [] if manifest is None else _fitting(context, parameter, typed, manifest.targets)


def bricks(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The bricks of the project, without the base."""
    manifest = _manifest(context)
    return [] if manifest is None else _fitting(context, parameter, typed, manifest.bricks)


def derived(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The derived bricks of the project."""
    manifest = _manifest(context)
    return [] if manifest is None else _fitting(context, parameter, typed, manifest.derived)


def base_and_bricks(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The base and the bricks of the project."""
    manifest = _manifest(context)
    return [] if manifest is None else _fitting(context, parameter, typed, manifest.requirements)


def checks_and_targets(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The checks of the project, and the targets that have one."""
    manifest = _manifest(context)
    if manifest is None:
        return []
    checks = [check.name for check in manifest.checks]
    tested = [check.target for check in manifest.checks]
    return _fitting(context, parameter, typed, dict.fromkeys([*checks, *tested]))


def registries(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The registries that the project declares."""
    manifest = _manifest(context)
    return [] if manifest is None else _fitting(context, parameter, typed, manifest.registries)


def folders(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """Folders, which the shell itself lists."""
    return [CompletionItem(typed, type="dir")]


def bricks_or_folders(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """A name of the project, or a folder where no name begins like that."""
    return base_and_bricks(context, parameter, typed) or folders(context, parameter, typed)


def models(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The targets of the project, its base and its bricks; or a folder where no name begins like that."""
    manifest = _manifest(context)
    names = [] if manifest is None else [*manifest.targets, *manifest.requirements, *manifest.derived]
    return _fitting(context, parameter, typed, dict.fromkeys(names)) or folders(context, parameter, typed)


def measurements(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """What can be measured of a model, after those that stand there already."""
    from brickctl.workflows.analyzing.wish import MEASUREMENTS

    before, comma, last = typed.rpartition(",")
    names = [name for name in MEASUREMENTS if name not in before.split(",")]
    found = _fitting(context, parameter, last, names)
    return [CompletionItem(f"{before}{comma}{item.value}") for item in found]


def tokenizers(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """`base` or `union`, or a folder where neither begins like that."""
    return _fitting(context, parameter, typed, ("base", "union")) or folders(context, parameter, typed)


def _fitting(
    context: click.Context, parameter: click.Parameter, typed: str, names: Iterable[str]
) -> list[CompletionItem[str]]:
    """The names that begin as was typed, in their order, without those that stand on the line already."""
    given = context.params.get(parameter.name or "") if parameter.nargs == -1 else None
    return [CompletionItem(name) for name in names if name.startswith(typed) and name not in (given or ())]


def _manifest(context: click.Context) -> Manifest | None:
    """What brick.toml says; None where there is none that can be read."""
    from brickctl.core.manifest_format import parse_manifest
    from brickctl.errors import BrickctlError

    try:
        folder = context.params.get("project")
        root = folder if isinstance(folder, Path) else find_project(Path.cwd())
        return parse_manifest((root / MANIFEST).read_text(encoding="utf-8"))
    except (BrickctlError, OSError, ValueError, RecursionError):
        return None
