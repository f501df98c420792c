"""Fixtures of the command line's tests."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from brickctl.cli import app
from tests.support.verbs import MakeVerbs


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
    for name in [name for name in tuple(sys.modules) if name.partition(".")[0] == package]:  # torch may be arriving
        del sys.modules[name]
