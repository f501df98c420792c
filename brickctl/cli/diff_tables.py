"""What differs, as tables: of tensors, of bricks, of locks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from brickctl.cli import output

if TYPE_CHECKING:
    from brickctl.analysis.interference import Interference
    from brickctl.cli.console import Console
    from brickctl.tensors.differences import Difference
    from brickctl.workflows.comparing.compare import BrickDifference
    from brickctl.workflows.comparing.interference import Pair
    from brickctl.workflows.comparing.locks import LockDifference
    from brickctl.workflows.comparing.models import ModelDifference, TensorChange
    from brickctl.workflows.lock import Change

_MOST = 10
"""Rows of tensors that are shown; all are in the JSON."""

_LONGEST = 40
_SHORT = len("sha256:") + 12
_NEXT = {
    "merge": "merge, at weights of {least} to {most}",
    "average": "merge their mean, weights of {least}",
    "ties": 'merge with method = "ties"',
    "stack": "stack or route rather than merge",
}
"""What to try first, by the action of an advice."""


def show_difference(
    console: Console, found: ModelDifference | BrickDifference | LockDifference, *, layers: bool
) -> None:
    """Everything that is worth to be seen of a difference."""
    from brickctl.workflows.comparing.compare import BrickDifference
    from brickctl.workflows.comparing.locks import LockDifference

    if isinstance(found, LockDifference):
        _show_locks(console, found)
    elif isinstance(found, BrickDifference):
        _show_bricks(console, found, layers=layers)
    else:
        _show_models(console, found, layers=layers)


def _show_models(console: Console, found: ModelDifference, *, layers: bool) -> None:
    if found.is_equal:
        console.show(f"equal: {found.same} tensors hold the same numbers, and no file differs")
        return
    console.show(_counts(found))
    shown = sorted(found.tensors, key=_how_far, reverse=True)
    if shown:
        columns = ("tensor", "what", "relative", "cosine", "signs kept", "stable rank")
        console.table(columns, [_tensor_row(one) for one in shown[:_MOST]])
    if len(shown) > _MOST:
        console.note(f"{len(shown) - _MOST} more tensors differ: `--layers` sums them up, `--json` has all")
    if layers:
        rows = [
            (_layer(one.layer), f"{one.changed} of {one.tensors}", *_difference(one.figures)) for one in found.layers
        ]
        console.table(("layer", "changed", "relative", "cosine", "signs kept"), rows)
    for file in found.files:
        console.show(output.one_line(f"{file.what:<8} {file.path}"))
    for key in found.keys:
        told = f"{key.what:<8} {key.path}: {key.key}{_values(key.what, key.before, key.after)}"
        console.show(output.one_line(told))


def _how_far(one: TensorChange) -> float:
    """What is shown first: what no number can tell, such as a tensor that is new, or not finite, or was all zeros."""
    found = one.figures
    return math.inf if found is None or found.unknown or found.relative is None else found.relative


def _counts(found: ModelDifference) -> str:
    whats = ("changed", "retyped", "reshaped", "added", "removed")
    counted = {what: sum(one.what == what for one in found.tensors) for what in whats}
    told = ", ".join(f"{count} {what}" for what, count in counted.items() if count) or "none changed"
    total = found.total
    far = (
        ""
        if total.relative is None
        else f"; these by {total.relative:.2%} of their norm, cosine {_number(total.cosine, 6)}"
    )
    return f"tensors: {told}, {found.same} the same{far}"


def _tensor_row(one: TensorChange) -> tuple[str, ...]:
    rank = "-" if one.stable_rank is None else f"{one.stable_rank:.1f}"
    return one.name, _what(one), *_difference(one.figures), rank


def _what(one: TensorChange) -> str:
    if one.what == "retyped" and one.before is not None and one.after is not None:
        return f"{one.before.dtype.code} -> {one.after.dtype.code}"
    if one.what == "reshaped" and one.before is not None and one.after is not None:
        return f"{list(one.before.shape)} -> {list(one.after.shape)}"
    return one.what


def _difference(found: Difference | None) -> tuple[str, str, str]:
    if found is None:
        return "-", "-", "-"
    if found.unknown:
        return "not finite", "-", "-"
    return _share(found.relative), _number(found.cosine, 6), _share(found.sign_agreement)


def _values(what: str, before: Any, after: Any) -> str:
    from brickctl.core.document import shown

    if what == "added":
        return f" = {shown(after, longest=_LONGEST)}"
    was = shown(before, longest=_LONGEST)
    return f" was {was}" if what == "removed" else f" {was} -> {shown(after, longest=_LONGEST)}"


def _show_bricks(console: Console, found: BrickDifference, *, layers: bool) -> None:
    columns = ("norms", "together", "cosine", "read alike", "write alike", "opposite signs")
    console.table(
        ("bricks", *columns), [(f"{one.one} + {one.other}", *_interference(one.total)) for one in found.pairs]
    )
    for pair in found.pairs:
        if layers:
            console.show(f"\n{pair.one} + {pair.other}")
            console.table(("layer", *columns), [(_layer(at), *_interference(sums)) for at, sums in pair.layers.items()])
    console.show("")
    for pair in found.pairs:
        console.show(_advised(pair))
    merged = [pair for pair in found.pairs if pair.advice.action != "stack"]
    if merged and len(found.pairs) > 1:
        best = min(merged, key=lambda pair: pair.total.joint_norm)
        console.note(f"begin with {best.one} + {best.other}: together they are the least far from the base")
    console.note("figures of weights do not promise that a skill stays: `brickctl test --bricks` says what each keeps")


def _advised(pair: Pair) -> str:
    advice = pair.advice
    least, most = advice.weights or (None, None)
    first = _NEXT[advice.action].format(least=least, most=most)
    return f"{pair.one} + {pair.other}: {first}; {'; '.join(advice.reasons)}"


def _interference(sums: Interference) -> tuple[str, ...]:
    first, second = sums.norms
    return (
        f"{first:.3g}, {second:.3g}",
        f"{sums.joint_norm:.3g}",
        _number(sums.cosine, 3),
        _number(sums.input_overlap, 3),
        _number(sums.output_overlap, 3),
        _share(sums.conflicts),
    )


def _show_locks(console: Console, found: LockDifference) -> None:
    from brickctl.workflows.comparing.locks import fields_changed

    if found.is_equal:
        console.show("equal: both pin the same bytes")
        return
    if found.engines[0] != found.engines[1]:
        console.show(f"engine   {found.engines[0]} -> {found.engines[1]}")
    for change in found.changes:
        console.show(f"{change.what:<8} {change.alias}{_pinned(change)}")
        for name, (before, after) in fields_changed(change).items():
            console.show(output.one_line(f"         {name}: {_short(before)} -> {_short(after)}"))
    for what, path in found.inputs:
        console.show(output.one_line(f"{what:<8} {path}"))


def _pinned(change: Change) -> str:
    """The version of an entry that came or went."""
    from brickctl.workflows.inventory import label

    entry = change.after if change.before is None else change.before if change.after is None else None
    return "" if entry is None else f"  {label(entry.pin)}"


def _short(value: Any) -> str:
    """A value of a lock; of a digest no more than people compare."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    text = "none" if value is None else str(value)
    return f"{text[:_SHORT]}..." if text.startswith("sha256:") else text


def _layer(layer: int | None) -> str:
    return "outside" if layer is None else str(layer)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
