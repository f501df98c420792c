"""What became of brick.lock, as the verbs that write it tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.cli.console import Console
    from brickctl.workflows.lock import Change, LockResult


def show_lock(console: Console, result: LockResult, *, unchanged: str = "brick.lock is up to date") -> None:
    """Say what changed, for people and programs; `unchanged` in one line where nothing did."""
    inputs = [{"path": path, "change": what} for what, path in result.inputs]
    console.answer({"written": result.written, "changes": change_documents(result.changes), "inputs": inputs})
    show_changes(console, result.changes)
    for what, path in result.inputs:
        console.show(f"{what:<8} {path}")
    if not result.changes and not result.inputs:
        console.show("brick.lock says what brick.toml says again; no brick changed" if result.written else unchanged)


def show_changes(console: Console, changes: Sequence[Change]) -> None:
    """One line for each entry that is not as it was."""
    for change in changes:
        console.show(f"{change.what:<8} {change.alias}  {_detail(change)}".rstrip())


def change_documents(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Changes as JSON."""
    from brickctl.workflows.inventory import label

    return [
        {
            "name": change.alias,
            "change": change.what,
            "before": None if change.before is None else label(change.before.pin),
            "after": None if change.after is None else label(change.after.pin),
        }
        for change in changes
    ]


def _detail(change: Change) -> str:
    from brickctl.workflows.inventory import label

    before = "" if change.before is None else label(change.before.pin)
    after = "" if change.after is None else label(change.after.pin)
    if change.before is not None and change.after is not None:
        where, now = change.before.pin.registry, change.after.pin.registry
        if where != now and where is not None and now is not None:
            return f"{before} in {where} -> {after} in {now}"
        return f"{before} -> {after}" if before != after else f"{after} (what is said of it, not its files)"
    return before or after
