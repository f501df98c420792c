"""How a derivation's findings are shown: its table on stdout, its notes on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.derivations.derivation import Findings


def findings_document(findings: Findings) -> dict[str, Any]:
    """What was found, for programs."""
    return {"rows": [dict(row) for row in findings.rows], "notes": list(findings.notes)}


def show_findings(console: Console, name: str, findings: Findings) -> None:
    """Show what was found while the brick `name` was made."""
    if findings.rows:
        console.table(tuple(findings.rows[0]), [tuple(map(_cell, row.values())) for row in findings.rows])
    for note in findings.notes:
        console.note(f"note: {name}: {note}")


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
