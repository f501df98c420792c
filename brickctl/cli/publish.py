"""`brickctl publish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.cli.console import Console
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.workflows.publish import Published


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("release", metavar="NAMESPACE/NAME@VERSION")
@options.checkout
@click.option("--to", "repository", metavar="hf:OWNER/NAME", help="Put the files there instead of into the registry.")
@click.option("--private", is_flag=True, help="Make that repository a private one, if it has to be made.")
@click.option("--base", metavar="REF", help="What the brick was made for.  [default: the base of the project, if any]")
@click.option("--needs-base", is_flag=True, help="Say that it is good for the very bytes of its base only.")
@click.option("--needs", multiple=True, metavar="REF", help="A brick that it needs, `namespace/name@range`.")
@click.option("--kind", help="Say the kind instead of letting the files say it.")
@click.option("--license", "license_name", metavar="SPDX", help="Licence.  [default: what README.md says]")
@click.option("--summary", default="", help="One sentence about it.")
@click.option("--tag", "tags", multiple=True, metavar="WORD", help="A word to find it by.")
@click.option("--dry-run", is_flag=True, help="Check everything; send and write nothing.")
@options.project_if_any
@options.offline
@options.console
def command(
    *,
    folder: Path,
    release: str,
    checkout: Path,
    repository: str | None,
    private: bool,
    base: str | None,
    needs_base: bool,
    needs: tuple[str, ...],
    kind: str | None,
    license_name: str | None,
    summary: str,
    tags: tuple[str, ...],
    dry_run: bool,
    project: Path | None,
    offline: bool,
    console: Console,
) -> None:
    """Publish a folder as a version of a brick.

    Checks it as `lock` would, uploads its files with the token of the environment (`--to`) or copies them into the
    registry, and writes the line of the version into DIR, a checkout of the registry. A published version never
    changes.
    """
    from brickctl.sources.checkout import Checkout
    from brickctl.workflows.publish import publish
    from brickctl.workflows.publishing import hub_id, open_publishing
    from brickctl.workflows.release import Publication, parse_release

    name, version = parse_release(release)
    publication = Publication(
        folder=folder.absolute(),
        name=name,
        version=version,
        repository=None if repository is None else hub_id(repository),
        kind=kind,
        license=license_name,
        summary=summary,
        tags=tags,
        needs=needs,
        needs_base=needs_base,
        private=private,
    )
    opened = open_publishing(project, base, console, offline=offline)
    result = publish(publication, opened, Checkout(checkout.absolute(), opened.ledger), dry_run=dry_run)
    _show(console, result, checkout, dry_run=dry_run)


def _show(console: Console, result: Published, checkout: Path, *, dry_run: bool) -> None:
    """What was done, or would be."""
    from brickctl.core.sizes import format_size

    entry = result.entry
    console.answer(
        {
            "name": entry.name,
            "version": entry.version,
            "kind": entry.kind,
            "source": entry.source,
            "commit": entry.commit,
            "digest": f"sha256:{entry.digest}",
            "license": entry.license,
            "files": [file.path for file in entry.files],
            "left-out": list(result.left_out),
            "new": result.new,
            "dry-run": dry_run,
        }
    )
    if result.left_out:
        console.note(f"left out, since it belongs to no brick: {', '.join(result.left_out)}")
    told = f"{entry.name} {entry.version}: {entry.kind}, {entry.license}, {format_size(result.size)}"
    if not result.new:
        console.show(f"{told}\nnothing to do: this version is published, and says the same")
    elif dry_run:
        console.show("\n".join((told, *_planned(entry, checkout), "nothing was sent or written (--dry-run)")))
    else:
        at = "" if entry.commit is None else f" at {entry.commit}"
        console.show(f"{told}\npublished {entry.source}{at}")
        console.note(f"next: commit what is new in {checkout} and push it; then `brickctl add {entry.name}`")


def _planned(entry: RegistryEntry, checkout: Path) -> Iterator[str]:
    """What would be done, one line for each file and one for the line."""
    kept = f"{checkout}/files/{entry.name}/{entry.version}"
    where = kept if entry.source.startswith("index:") else entry.source
    yield from (f"would put {file.path} into {where}" for file in entry.files)
    yield f"would write a line into {checkout}/index/{entry.name}"
