"""The frame that verbs plug into: it finds them, runs one, and turns whatever happens into an exit code."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import pkgutil
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from brickctl import __version__
from brickctl.cli import failures, output
from brickctl.errors import BrickctlError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

TRACEBACK = "BRICKCTL_TRACEBACK"
"""The variable that asks for Python's traceback of every failure."""

COMPLETING = "_BRICKCTL_COMPLETE"
"""The variable with which a shell asks what may come next, instead of running a verb; its name is click's choice."""


def main() -> int:
    """Run `brickctl` with the arguments of this process; returns the exit code."""
    import brickctl.cli

    exit_code = run(application(brickctl.cli), sys.argv[1:])
    gc.freeze()  # the process ends here: what it holds goes with it, and nobody need look for garbage in it
    return exit_code


def run(verbs: click.Group, arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every failure is reported here, on stderr or as JSON on stdout."""
    as_json = wants_json(arguments)
    try:
        exit_code = verbs.main(list(arguments), prog_name="brickctl", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as raised:  # noqa: BLE001 - the outermost frame: no user meets a bare traceback
        if COMPLETING in os.environ:  # words would land in the line that is being typed
            return 1
        return _fail(raised, as_json=as_json)
    return exit_code if isinstance(exit_code, int) else 0


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--json` was given, judged before parsing: errors of parsing obey it too."""
    return "--json" in itertools.takewhile(lambda argument: argument != "--", arguments)


def application(package: ModuleType) -> Verbs:
    """The command `brickctl`, whose verbs are the modules of `package`."""
    about = "The package manager for configurable foundation models: a base, bricks, and a lock make a model."
    verbs = Verbs(package, help=about, context_settings={"help_option_names": ["-h", "--help"]})
    return click.version_option(__version__, "-V", "--version", message="brickctl %(version)s")(verbs)


class Verbs(click.Group):
    """A group whose commands are the modules of a package that have a `command`, each imported when it is needed."""

    def __init__(self, package: ModuleType, **settings: Any) -> None:
        super().__init__(invoke_without_command=True, callback=_help_without_verb, **settings)
        modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
        self.package = package.__name__
        self._modules = {verb_of(module): module for module in modules if not module.startswith("_")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, sorted; imports every module."""
        return [verb for verb in self._modules if self.get_command(ctx, verb) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of one verb; None where no module has it."""
        module = self._modules.get(cmd_name)
        if module is None:
            return None
        command: click.Command | None = getattr(importlib.import_module(f"{self.package}.{module}"), "command", None)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that `args` begin with.

        Raises:
            UsageFault: there is none.
        """
        verb = args[0]
        if not verb.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, verb) is None:
            raise failures.unknown_verb(verb, self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def verb_of(module: str) -> str:
    """The verb that a module is named for; the trailing underscore keeps keywords and `test` out of module names."""
    return module.rstrip("_").replace("_", "-")


@click.pass_context
def _help_without_verb(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _fail(raised: BaseException, *, as_json: bool) -> int:
    """Report a failure and return its exit code; when even that cannot be written, say nothing."""
    traced = bool(os.environ.get(TRACEBACK))
    error = failures.explain(raised, traced=traced)
    try:
        if traced:
            output.say("".join(traceback.format_exception(raised)).rstrip("\n"))
        _report(error, as_json=as_json)
    except BrokenPipeError:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - or the last flush fails aloud
    return error.exit_code


def _report(error: BrickctlError, *, as_json: bool) -> None:
    """As JSON where it is asked for, and where there is room for it."""
    try:
        failures.report(error, as_json=as_json)
    except BrickctlError:
        failures.report(error, as_json=False)
