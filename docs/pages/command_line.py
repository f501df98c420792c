"""`cli.md`: every verb, from click."""

from __future__ import annotations

import inspect

import click
from pages.markdown import code, document, table

import brickctl.cli
from brickctl.cli.app import application

_ABOUT = """\
What a command answers goes to stdout, everything else to stderr. With `--json` stdout holds exactly one JSON object, as
[errors and exit codes](errors-and-exit-codes.md) describes it. `python -m brickctl` is `brickctl`. Variables that stand
for options are listed under [environment](environment.md)."""


def page() -> str:
    """The page."""
    program = application(brickctl.cli)
    top = click.Context(program, info_name="brickctl", **program.context_settings)
    verbs = {name: program.get_command(top, name) for name in program.list_commands(top)}
    found = {name: verb for name, verb in verbs.items() if verb is not None}
    overview = table(
        ("verb", ""),
        ((f"[`{name}`](#brickctl-{name})", _summary(verb)) for name, verb in found.items()),
    )
    sections = (_section(name, verb, top) for name, verb in found.items())
    return document("Command line", _ABOUT, overview, *sections)


def _summary(verb: click.Command) -> str:
    """The first sentence of the help, whole: click's own is cut to the width of a terminal."""
    paragraph = " ".join(inspect.cleandoc(verb.help or "").split("\n\n")[0].split())
    return paragraph.split(". ")[0].removesuffix(".") + "."


def _section(name: str, verb: click.Command, top: click.Context) -> str:
    """A verb, and below it those that a group has."""
    context = click.Context(verb, info_name=name, parent=top)
    below = sorted(verb.commands.items()) if isinstance(verb, click.Group) else []
    return "\n\n".join((_one(name, verb, top), *(_section(inner, each, context) for inner, each in below)))


def _one(name: str, verb: click.Command, top: click.Context) -> str:
    context = click.Context(verb, info_name=name, parent=top)
    usage = " ".join((context.command_path, *verb.collect_usage_pieces(context)))
    records = [parameter.get_help_record(context) for parameter in verb.get_params(context)]
    options = table(
        ("option", ""), ((f"`{record[0]}`", _plain(record[1])) for record in records if record and record[1])
    )
    heading = f"{'##' if top.parent is None else '###'} {context.command_path}"
    return "\n\n".join((heading, code(usage, "text"), inspect.cleandoc(verb.help or ""), options))


def _plain(text: str) -> str:
    """Help as prose: one space between words, and what click puts into brackets as code."""
    return " ".join(text.split())
