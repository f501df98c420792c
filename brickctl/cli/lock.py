"""`brickctl lock`, and `brickctl lock export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from brickctl.cli import options
from brickctl.cli.changes import show_lock
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.group(invoke_without_command=True, subcommand_metavar="[export ...]")
@click.pass_context
@options.project_if_any
@click.option("--check", is_flag=True, help="Write nothing; fail if brick.lock does not say what brick.toml says.")
@options.offline
@options.console
def command(context: click.Context, *, project: Path | None, check: bool, offline: bool, console: Console) -> None:
    """Pin in brick.lock exactly which bytes brick.toml means.

    What is pinned already keeps its pin; `brickctl update` takes newer ones. Reads small files and the headers of
    weights, no weights.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context, context.invoked_subcommand)
        return
    from brickctl.workflows import lock
    from brickctl.workflows.session import open_session

    session = open_session(options.needed_project(project), console, offline=offline)
    show_lock(console, lock.check(session) if check else lock.refresh(session))


def _refuse_options(context: click.Context, verb: str) -> None:
    """Options before a verb are those of `lock`, and would be passed over: `--project` above all.

    Raises:
        UsageFault: there is one.
    """
    given = [
        option.opts[-1]
        for option in context.command.params
        if context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        hint = f"options of `{verb}` stand behind it: see `brickctl lock {verb} --help`"
        raise UsageFault(f"`{given[0]}` stands before `{verb}`, where it has no effect", hint=hint)


@command.command("export")
@click.argument("target", required=False)
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(("requirements", "mergekit", "cyclonedx")),
    help="Pinned lines, a recipe of mergekit, or a bill of materials in CycloneDX.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write it there.  [default: stdout]",
)
@options.project
@options.console
def export(*, target: str | None, form: str, output: Path | None, project: Path, console: Console) -> None:
    """Write what brick.lock pins in a form that other programs read: of TARGET, or of the whole project.

    Reads brick.toml and brick.lock and nothing else. Equal locks give equal bytes.
    """
    from brickctl.sources.atomic import write_atomically
    from brickctl.workflows.lock_export.export import export as write
    from brickctl.workflows.session import open_session

    exported = write(open_session(project, console, offline=True), form, target)
    for note in exported.notes:
        console.note(note)
    if output is not None:
        write_atomically(output.absolute(), exported.text.encode())
    text = exported.text if output is None else None
    path = None if output is None else str(output)
    console.answer({"format": form, "path": path, "text": text, "notes": list(exported.notes)})
    console.show(f"wrote {output}" if text is None else text.removesuffix("\n"))
