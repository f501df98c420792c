"""`brickctl completions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from brickctl.cli.console import Console

_HOW = {
    "bash": 'eval "$(brickctl completions bash)"  in ~/.bashrc (needs bash 4.4)',
    "zsh": 'eval "$(brickctl completions zsh)"  in ~/.zshrc, after compinit',
    "fish": "brickctl completions fish | source  in ~/.config/fish/config.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(tuple(_HOW)))
@options.console
@click.pass_context
def command(context: click.Context, *, shell: str, console: Console) -> None:
    """Print a script that lets SHELL complete verbs, options, and the names of a project.

    To use it: `eval "$(brickctl completions bash)"` in ~/.bashrc, the same with zsh in ~/.zshrc, and
    `brickctl completions fish | source` in ~/.config/fish/config.fish.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is None:  # click knows all three
        raise click.UsageError(f"no completions for {shell}")
    script = made(context.find_root().command, {}, "brickctl", "_BRICKCTL_COMPLETE").source()
    console.answer({"shell": shell, "script": script})
    console.show(script)
    console.note(f"to use it: {_HOW[shell]}")
