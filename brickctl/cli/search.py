"""`brickctl search`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console
    from brickctl.workflows.search import Found, Sought

_LONGEST_SUMMARY = 60


@click.command()
@click.argument("text", nargs=-1)
@click.option("--kind", metavar="KIND", help="Only bricks of this kind.")
@click.option("--base", metavar="REF", help="Only bricks made for this model: `hf:owner/name` or `namespace/name`.")
@click.option("--fits", is_flag=True, help="Only bricks made for this project's base, or for one with its interface.")
@click.option(
    "--registry",
    metavar="NAME",
    shell_complete=suggestions.registries,
    help="Registry to search instead of the project's default.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1000),
    metavar="N",
    default=20,
    show_default=True,
    help="Show at most so many.",
)
@options.project_if_any
@options.offline
@options.console
def command(
    *,
    text: tuple[str, ...],
    kind: str | None,
    base: str | None,
    fits: bool,
    registry: str | None,
    limit: int,
    project: Path | None,
    offline: bool,
    console: Console,
) -> None:
    """Search registries for bricks.

    Each word of TEXT must begin a word of the name, the tags or the summary; names count most. Without TEXT, all bricks
    by name. Searches the project's default registries, `builtin` where there is no project.

    `--fits` goes by what the registry says: the source of the base, or the digest of its tensors' names and shapes.
    Whether a brick really fits is seen when it is added.
    """
    from brickctl.workflows.search import Sought, search

    sought = Sought(text=" ".join(text), kind=kind, base=base, fits=fits, registry=registry, limit=limit)
    found = search(project, sought, console, offline=offline)
    console.answer(
        {
            "registries": list(found.registries),
            "bricks": [hit.document() for hit in found.hits],
            "more": found.more,
        }
    )
    if found.hits:
        _show(console, found)
    else:
        console.note(_nothing(sought, found))


def _show(console: Console, found: Found) -> None:
    from brickctl.core.document import shown

    several = len(found.registries) > 1
    console.table(
        ("brick", "version", "kind", "licence", *(("registry",) if several else ()), "base", "summary"),
        [
            (
                hit.listing.name,
                hit.listing.version,
                hit.listing.kind,
                hit.listing.license,
                *((hit.registry,) if several else ()),
                (hit.listing.base_source or "-").removeprefix("index:"),
                shown(hit.listing.summary, longest=_LONGEST_SUMMARY),
            )
            for hit in found.hits
        ],
    )
    if found.more:
        console.note("there are more: add a word, or `--limit N`")


def _nothing(sought: Sought, found: Found) -> str:
    """What to do where nothing was found."""
    where = ", ".join(f"`{name}`" for name in found.registries)
    narrow = [
        name for name, given in (("--kind", sought.kind), ("--base", sought.base), ("--fits", sought.fits)) if given
    ]
    ideas = [f"leave out {', '.join(narrow)}"] if narrow else []
    ideas += ["use fewer or shorter words"] if sought.text else []
    ideas += [
        "search another registry with `--registry NAME`",
        "add a brick of the Hub with `brickctl add hf:owner/name`",
    ]
    return f"nothing found in {where}: {'; '.join(ideas)}"
