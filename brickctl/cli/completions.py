"""`brickctl completions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@options.console
@click.pass_context
def command(context: click.Context, *, shell: str, console: Console) -> None:
    """Print what makes a shell complete verbs, options, and the names of brick.toml.

    For bash, `eval "$(brickctl completions bash)"` in ~/.bashrc. For zsh the same, in ~/.zshrc after compinit.
    For fish, `brickctl completions fish > ~/.config/fish/completions/brickctl.fish`.
    """
    from click.shell_completion import ShellComplete, get_completion_class

    from brickctl.cli.app import COMPLETING

    kind = get_completion_class(shell)
    if kind is None:  # click has had the three since 8.0
        raise RuntimeError(shell)
    # The source of the frame class: that of bash would start a bash, to look at its version.
    script = ShellComplete.source(kind(context.find_root().command, {}, "brickctl", COMPLETING))
    console.answer({"shell": shell, "script": script})
    console.show(script.rstrip("\n"))
