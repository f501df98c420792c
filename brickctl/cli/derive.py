"""`brickctl derive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import options, suggestions
from brickctl.cli.findings import findings_document, show_findings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brickctl.cli.console import Console
    from brickctl.tensors.closeness import Apart
    from brickctl.tensors.device import Device
    from brickctl.workflows.derive import Made


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=suggestions.derived)
@options.project
@click.option("--check", is_flag=True, help="Make them again and compare with what is locked; change nothing.")
@options.force
@options.locked
@options.frozen
@options.offline
@options.memory
@options.threads
@options.device
@options.console
def command(
    *,
    names: tuple[str, ...],
    project: Path,
    check: bool,
    force: bool,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    device: Device | None,
    console: Console,
) -> None:
    """Make the bricks of [derived]: all of them unless some are named.

    What needs a model to run, or the values of weights, is made once and locked; builds then use its bytes. A brick
    that would be made of the same as before is left alone.
    """
    from brickctl.tensors.executor import Budget
    from brickctl.workflows import derive
    from brickctl.workflows.bench import Means
    from brickctl.workflows.lock import mode_for
    from brickctl.workflows.session import open_session

    mode = mode_for(locked=locked, frozen=frozen)
    session = open_session(project, console, offline=offline)
    budget = Budget(threads=threads, memory=memory)
    means = Means(budget=budget, device="cpu" if device is None else device.name)
    work = derive.Work(means=means, mode=mode, force=force)
    if check:
        compared = list(derive.check(session, names, work))
        console.answer({"derived": [{**_document(made), "moved": _moved(moved)} for made, moved in compared]})
        for made, moved in compared:
            console.show(f"{made.entry.alias}: {_how_far(moved)}")
        return
    results: list[Made] = []
    for made in derive.derive(session, names, work):
        results.append(made)
        _show(console, made)
    console.answer({"derived": list(map(_document, results))})


def _show(console: Console, made: Made) -> None:
    from brickctl.core.sizes import format_size

    entry = made.entry
    state = "derived" if made.fresh else "up to date"
    console.show(f"{entry.alias}: {state}  {entry.kind}  {format_size(made.size)}  sha256:{entry.pin.digest[:16]}")
    show_findings(console, entry.alias, made.findings)


def _document(made: Made) -> dict[str, Any]:
    entry = made.entry
    return {
        "name": entry.alias,
        "kind": entry.kind,
        "digest": f"sha256:{entry.pin.digest}",
        "recipe": f"sha256:{entry.recipe}",
        "folder": None if made.folder is None else str(made.folder),
        "size": made.size,
        "fresh": made.fresh,
        **findings_document(made.findings),
    }


def _moved(moved: Sequence[Apart]) -> list[Mapping[str, Any]]:
    return [{"name": one.name, "distance": one.distance, "share": one.share} for one in moved]


def _how_far(moved: Sequence[Apart]) -> str:
    """What moved, in a few words."""
    if not moved:
        return "made again, to the same bytes"
    furthest = max(moved, key=lambda one: (one.share, one.distance))
    return f"made again within its tolerance; {len(moved)} tensors moved, the furthest: {furthest}"
