"""What `merge`, `moe`, `stack` and `grow` do once they know their step: say what would be built, or build it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.cli.build import show_built, show_outlines

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.compose import Composition


def compose(
    console: Console,
    composition: Composition,
    output: Path,
    budget: Budget,
    *,
    save: Path | None,
    dry_run: bool,
    offline: bool,
) -> None:
    """Build into `output` and show what was built, or show the plan of a dry run."""
    from brickctl.workflows.compose import preview, run

    if dry_run:
        show_outlines(console, [preview(composition, output, console, budget, offline=offline)])
        return
    show_built(console, [run(composition, output, console, budget, offline=offline, save=save)])
