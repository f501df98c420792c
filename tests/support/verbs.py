"""Verbs that live in a test only."""

from collections.abc import Callable, Mapping

from brickctl.cli import app

MakeVerbs = Callable[[Mapping[str, str]], app.Verbs]
"""Makes an application whose verbs are the given modules: texts by name."""

VERB = """
import click

from brickctl.cli import options


@click.command()
@options.console
def command(*, console):
    '''{summary}

    More words.
    '''
    {body}
"""


def verb(body: str, summary: str = "Do something.") -> str:
    """The text of a verb's module whose function does `body`."""
    return VERB.format(summary=summary, body=body)
