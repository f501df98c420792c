"""`brickctl diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console
    from brickctl.workflows.comparing.compare import BrickDifference
    from brickctl.workflows.comparing.locks import LockDifference
    from brickctl.workflows.comparing.models import ModelDifference
    from brickctl.workflows.comparing.sides import Desk

_EXAMPLE = "`brickctl diff A B` compares two things, `brickctl diff TARGET` the bricks of a target"


@click.command()
@click.argument("one", required=False, metavar="[A|TARGET]", shell_complete=suggestions.models)
@click.argument("other", required=False, metavar="[B]", shell_complete=suggestions.models)
@click.option("--bricks", is_flag=True, help="Compare each pair of the bricks of the project.")
@click.option(
    "--base",
    metavar="REF",
    shell_complete=suggestions.models,
    help="Model that adapters are for.  [default: the base of the project]",
)
@click.option("--layers", is_flag=True, help="Show every layer too.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 where the two differ, as git does.")
@options.project_if_any
@options.locked
@options.frozen
@options.offline
@options.memory
@options.threads
@options.console
@click.pass_context
def command(
    context: click.Context,
    *,
    one: str | None,
    other: str | None,
    bricks: bool,
    base: str | None,
    layers: bool,
    exit_code: bool,
    project: Path | None,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    """Show what differs between A and B, or how bricks would get in each other's way in a merge.

    A and B are targets, bricks or `base` of the project, folders such as `./model`, other references, or two locks:
    `brick.lock`, `HEAD~1:brick.lock`. Two models are compared tensor by tensor, two bricks by what they do to their
    base, with advice on how to bring them together; TARGET alone compares its bricks. A target is built first.
    """
    from brickctl.cli.diff_tables import show_difference
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.comparing.sides import Desk
    from brickctl.workflows.lock import mode_for
    from brickctl.workflows.session import open_session

    mode = mode_for(locked=locked, frozen=frozen)
    _refuse_impossible(one, bricks=bricks)
    session = None if project is None else open_session(project, console, offline=offline)
    budget = Budget(threads=threads, memory=memory)
    desk = Desk(session=session, mode=mode, budget=budget, base=base, events=console, offline=offline)
    found = _compared(one, other, desk)
    console.answer(found.document())
    show_difference(console, found, layers=layers)
    if exit_code and not found.is_equal:
        context.exit(1)


def _refuse_impossible(one: str | None, *, bricks: bool) -> None:
    if bricks and one is not None:
        raise UsageFault("`--bricks` compares all bricks of the project, and takes no names", hint=_EXAMPLE)
    if not bricks and one is None:
        raise UsageFault("there is nothing to compare", hint=f"{_EXAMPLE}, and `--bricks` those of the project")


def _compared(one: str | None, other: str | None, desk: Desk) -> ModelDifference | BrickDifference | LockDifference:
    """What two names mean decides what is compared."""
    from brickctl.workflows.comparing.compare import compare, compare_all
    from brickctl.workflows.comparing.locks import compare_locks, is_lock

    if one is None or other is None:
        return compare_all(desk, one)
    are_locks = [is_lock(one), is_lock(other)]
    if all(are_locks):
        return compare_locks(one, other)
    if any(are_locks):
        lock, none = (one, other) if are_locks[0] else (other, one)
        raise UsageFault(f"`{lock}` is a lock, and `{none}` is none", hint="name two locks, or two models or bricks")
    return compare(one, other, desk)
