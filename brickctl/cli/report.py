"""`brickctl report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.command()
@click.argument("target", required=False, metavar="[TARGET]", shell_complete=suggestions.targets)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the page goes.  [default: reports/TARGET.html]",
)
@click.option("--no-interference", is_flag=True, help="Read no weights: leave out what bricks do to each other.")
@options.project
@options.console
def command(*, target: str | None, output: Path | None, no_interference: bool, project: Path, console: Console) -> None:
    """Show what TARGET is made of, on one HTML page that needs nothing else.

    The recipe as a graph, what `brickctl test` has measured, what merged bricks do to each other, weights over the
    layers, licences of the whole chain, provenance, sizes, and what of the base changes. TARGET is the first one of
    brick.toml if none is named. Builds nothing, runs nothing and uses no network: what is missing is said on the page.
    """
    from brickctl.core.sizes import format_size
    from brickctl.workflows.build import read_recipes
    from brickctl.workflows.report.file import FOLDER, check_place, write_report
    from brickctl.workflows.report.gather import gather
    from brickctl.workflows.session import open_session

    session = open_session(project, console, offline=True)
    recipe = read_recipes(session, () if target is None else (target,))[0]
    path = project / FOLDER / f"{recipe.name}.html" if output is None else output.absolute()
    check_place(path)
    report = gather(session, recipe, with_interference=not no_interference)
    size = write_report(path, report)
    console.answer({"file": str(path), "bytes": size, "report": report.document()})
    for note in report.notes:
        console.warn(note)
    console.show(f"{path}: {format_size(size)}")
