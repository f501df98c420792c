"""Results of checks, shown: tables for people, documents for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from brickctl.errors import CheckFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.cli.console import Console
    from brickctl.workflows.checking.score import Score


def document(score: Score) -> dict[str, Any]:
    """A result for JSON; a figure that is no number is null."""
    from brickctl.core.digests import prefixed

    check, origin = score.check, score.origin
    return {
        "check": check.name,
        "kind": check.kind_name,
        "target": check.target,
        "model": score.model,
        "alone": score.alone,
        "unit": check.measured.kind.unit,
        "value": score.value if math.isfinite(score.value) else None,
        "bar": None if score.bar is None or not score.gates else {score.bar.good: score.bar.value},
        "count": score.count,
        "passed": score.passed if score.gates else None,
        "doubt": score.doubt,
        "cached": score.cached,
        "artifact": None if origin is None else prefixed(origin.artifact),
        "data": None if origin is None or origin.data is None else prefixed(origin.data),
        "worst": [
            {"prompt": wrong.prompt, "wanted": wrong.wanted, "got": wrong.got, "nats": wrong.nats}
            for wrong in score.worst
        ],
    }


def show_skills(console: Console, scores: Sequence[Score]) -> None:
    """A row for each model, a column for each check; a dash where a check is about another target alone."""
    from brickctl.workflows.checking import telling

    checks = list(dict.fromkeys(score.check.name for score in scores))
    models = list(dict.fromkeys((score.model, score.alone) for score in scores))
    cells = {(score.model, score.alone, score.check.name): telling.figure(score) for score in scores}
    rows = [
        (
            f"{model} (alone)" if alone and (model, False) in models else model,
            *(cells.get((model, alone, check), "-") for check in checks),
        )
        for model, alone in models
    ]
    console.table(("model", *checks), rows)


def show_gates(console: Console, scores: Sequence[Score], missed: Sequence[Score]) -> None:
    """A row for each check: what was reached, and the bar."""
    from brickctl.workflows.checking import telling

    rows = [
        (score.check.name, score.model, telling.figure(score), telling.bar(score), _state(score, missed))
        for score in scores
    ]
    console.table(("check", "target", "reached", "bar", ""), rows)


def _state(score: Score, missed: Sequence[Score]) -> str:
    if score in missed:
        state = "MISSED" if score.doubt is None else "NOT COMPARED"
    else:
        state = "ok" if score.passed else "not accepted" if missed else "accepted anew"
    return f"{state}, known" if score.cached else state


def note_cached(console: Console, scores: Sequence[Score]) -> None:
    """Say which results were not measured now."""
    count = sum(score.cached for score in scores)
    if count:
        which = "all results are" if count == len(scores) else f"{count} of {len(scores)} results are"
        console.note(f"{which} known from an earlier run, of the same bytes; `--force` measures again")


def fail_if_missed(missed: Sequence[Score], of: int, documents: tuple[dict[str, Any], ...], hint: str) -> None:
    """Raise CheckFailed with each skill, its figure, its bar, and the examples that were worst; nothing if all pass."""
    from brickctl.core.accepted import FILE
    from brickctl.workflows.checking import telling

    if not missed:
        return
    causes: dict[str, list[str]] = {}  # of a check and of the one that is held against its past, examples stand once
    for score in missed:
        causes.setdefault(score.check.measured.name, []).append(telling.missed(score))
    examples = {score.check.measured.name: telling.worst(score) for score in missed}
    if all(score.doubt is not None for score in missed):
        hint = f"look at the figure; if it may stay, run `brickctl test --accept`, and commit {FILE}"
    message = f"{len(missed)} of {of} checks missed the bar"
    failed = CheckFailed(
        message,
        causes=tuple(each for name, own in causes.items() for each in (*own, *examples[name])),
        place=missed[0].check.place,
        hint=hint,
    )
    failed.scores = documents
    raise failed
