'''The command line: parse, call a workflow, print. The only layer that prints or knows click.

To add a verb, add one file. `brickctl/cli/tree.py` is `brickctl tree`; nothing else is edited, no list, no table:

    """Show what a target is made of."""

    from __future__ import annotations

    from typing import TYPE_CHECKING

    import click

    from brickctl.cli import options

    if TYPE_CHECKING:
        from pathlib import Path

        from brickctl.cli.console import Console


    @click.command()
    @click.argument("target")
    @options.project
    @options.offline
    @options.console
    def command(*, target: str, project: Path, offline: bool, console: Console) -> None:
        """Show what TARGET is made of."""
        from brickctl.workflows.tree import tree

        result = tree(project, target, offline=offline, events=console)
        console.answer({"target": target, "bricks": list(result.bricks)})
        console.table(("brick", "version"), result.rows)

The rules:

- A module with a `command` is a verb. Its name is the verb; a trailing underscore is dropped (`import_` is `import`,
  `test_` is `test`) and other underscores become hyphens. Modules without a `command` are the frame.
- The module imports click and `brickctl.cli.options`, no more: `brickctl --help` imports every verb. Workflows are
  imported inside the function.
- The first sentence of the function's docstring is the line in `brickctl --help`.
- Options that several verbs share stand in `options`; `options.console` comes last and brings `--json` and `--quiet`.
- Call both `console.answer` (what `--json` prints) and `console.show` or `console.table` (what people read): each does
  nothing when the other is wanted.
- To fail, raise an error of `brickctl.errors`; `failures` turns it into text or JSON and the exit code.
'''

from __future__ import annotations

from brickctl.cli.app import main

__all__ = ["main"]
