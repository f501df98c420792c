"""Pages about what benchmarks measured: their figures lie in `docs/measured/`, as the benchmarks wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages.markdown import code, document, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MEASURED = Path(__file__).parent.parent / "measured"

_ACCURACY = """\
How far each merge method is from the exact result when weights are stored in bf16, here and in mergekit 0.1.5; written
by `python tests/benchmarks/accuracy.py --json docs/measured/accuracy.json`. A base and tunings of it, {rows} by
{columns} normally distributed entries in bf16, are merged. The exact result is the formula in fp64: mergekit's own code
on fp64 tensors, and for methods whose masks are drawn, where mergekit falls back to fp32, brickctl's, which its tests
hold against the formula. The error is the mean distance from it, in percent of the mean distance between it and the
base: of the update. Entries that tie at a limit of magnitude, of which any may be kept, are left out.

`rounding` is the exact result rounded to bf16 once: on average nobody can have less. brickctl computes in fp64 and
rounds last, so it has just that. mergekit is measured with `dtype: bfloat16`, in which it then computes, and with
`dtype: float32, out_dtype: bfloat16`."""

_BETWEEN = """\
Methods that choose entries by size choose others where sizes are rounded before they are compared: `arcee_fusion`, and
`ties` and `breadcrumbs_ties` in float32; where masks are drawn mergekit gets brickctl's. Tensors of more than a million
entries are left to brickctl alone for `arcee_fusion`: mergekit takes its quartiles from a random sample there."""


def accuracy() -> str:
    """`accuracy.md`."""
    found = _figures("accuracy.json")
    columns = ("rounding", "brickctl", "mergekit", "mergekit in float32")
    rows = (
        (f"[`{name}`](merge-methods.md#{name})", *(_percent(figures[column]) for column in columns))
        for name, figures in found["methods"].items()
    )
    intro, parity = _ACCURACY.format(rows=found["rows"], columns=found["columns"]), ("## Parity with mergekit", _PARITY)
    return document("Accuracy of merge methods", intro, table(("method", *columns), rows), _BETWEEN, *parity, _parity())


_PARITY = """\
The largest difference from mergekit on tensors of the sizes of a Llama of 0.85 B parameters in fp32, relative to the
largest element of the result, and how many elements in a million differ by more than 1e-6; written by
`python tests/benchmarks/parity.py --json docs/measured/parity.json`. `float64` is mergekit's own code on fp64 tensors;
`float32` also holds what mergekit loses there: a norm or an inner product of millions of elements goes into every
element. Where masks are drawn mergekit gets brickctl's, and works in float32 in both columns. Single elements differ
wholly where a sign is elected, or an entry chosen, by a number that rounding in float32 has moved over the limit."""


def _parity() -> str:
    """How near results are to mergekit's."""
    rows = (
        (
            f"[`{name}`](merge-methods.md#{name})",
            *(f"{figures[key]:.1e}" for key in ("float64", "float32")),
            *(f"{figures[f'{key} beyond']:.2g}" for key in ("float64", "float32")),
        )
        for name, figures in _figures("parity.json").items()
    )
    return table(("method", "float64", "float32", "beyond in float64", "beyond in float32"), rows)


_SPEED = """\
Whole processes, from start to end, on the same machine in the same run; written by
`python tests/benchmarks/methods.py --json docs/measured/speed.json`. A Llama of 0.85 B parameters in bf16 (1.7 GB in
four shards) and fine-tunes of it are merged with the same parameters, on {machine}; medians of alternating rounds.
mergekit 0.1.5 runs with its default flags and with those that are best here (shards of 200 MB, asynchronous writing);
it hashes nothing. brickctl knows the digests of its inputs from an earlier run and hashes what it makes; files that
stay as they are keep their digest. The *floor* reads the inputs of the row, copies one model and hashes the copy:
nothing that changes weights can take less. `anonymous` is the memory of the processes themselves, looked at every
20 ms, without pages of files; what they share counts once."""

_BOUND = """\
Where the rest of the time goes, and what was tried, stands beside the
[benchmarks](../../tests/benchmarks/README.md)."""


def speed() -> str:
    """`speed.md`."""
    found = _figures("speed.json")
    rows: Mapping[str, Any] = found["rows"]
    table_of_rows = table(
        (
            "method",
            "rounds",
            "mergekit",
            "best flags",
            "brickctl",
            "faster",
            "floor",
            "times the floor",
            "anonymous",
            "mergekit's",
        ),
        (_row(name, found["rounds"], found["medians"]) for name, found in rows.items()),
    )
    plot = _plot({name: found["medians"] for name, found in rows.items()})
    return document("Speed of merges", _SPEED.format(machine=found["machine"]), table_of_rows, plot, _BOUND)


def _row(name: str, rounds: int, figures: Mapping[str, Any]) -> Iterable[str]:
    ours, floor = figures["brickctl"], figures["floor"]
    usual, best = figures["mergekit"], figures["mergekit, best flags"]
    least = min(usual["wall"], best["wall"])
    walls = (f"{one['wall']:.1f} s" for one in (usual, best, ours))
    ratios = f"{least / ours['wall']:.1f} times", f"{floor['wall']:.1f} s", f"{ours['wall'] / floor['wall']:.1f}"
    memory = (
        f"{one['anonymous']:.0f} MiB" for one in (ours, min(usual, best, key=lambda one: float(one["anonymous"])))
    )
    return (f"`{name}`", str(rounds), *walls, *ratios, *memory)


def _plot(rows: Mapping[str, Any]) -> str:
    """How many times faster, as bars."""
    ratios = [
        min(figures["mergekit"]["wall"], figures["mergekit, best flags"]["wall"]) / figures["brickctl"]["wall"]
        for figures in rows.values()
    ]
    lines = (
        "xychart-beta",
        '    title "Times faster than mergekit with its best flags"',
        f"    x-axis [{', '.join(rows)}]",
        f'    y-axis "times" 0 --> {max(ratios) + 1:.0f}',
        f"    bar [{', '.join(f'{ratio:.1f}' for ratio in ratios)}]",
    )
    return code("\n".join(lines), "mermaid")


def _percent(figure: float) -> str:
    return f"{100 * figure:.2f} %"


def _figures(name: str) -> Any:
    return json.loads((MEASURED / name).read_text(encoding="utf-8"))
