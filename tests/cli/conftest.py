"""Verbs that live in a test only."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from brickctl.cli import app

MakeVerbs = Callable[[Mapping[str, str]], app.Verbs]

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


@pytest.fixture
def make_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeVerbs]:
    """Makes an application whose verbs are the given modules, by name."""
    package = "verbs_of_one_test"

    def make(modules: Mapping[str, str]) -> app.Verbs:
        folder = tmp_path / "packages" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(dedent(text))
        monkeypatch.syspath_prepend(folder.parent)
        return app.application(importlib.import_module(package))

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
