"""Plug-ins: found in the file that is called like them, or else in any."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import pytest

from brickctl.core.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = {"linear": ["linear"], "chat_template": ["chat-template"], "lora": ["LORA"], "several": ["one", "two"]}
_NUMBERS = itertools.count()

Declaring = tuple[Plugins[str], "Callable[[], set[str]]"]


@pytest.fixture
def declaring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declaring:
    """Plug-ins of a package whose files declare these names, and what tells which files are imported."""
    package = f"plugged_{next(_NUMBERS)}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text("from brickctl.core.plugins import Plugins\nFOUND = Plugins(__name__)\n")
    for file, names in FILES.items():
        lines = [f"FOUND.declare({name!r}, {f'{name} of {file}'!r})" for name in names]
        (folder / f"{file}.py").write_text("\n".join([f"from {package} import FOUND", *lines]))
    monkeypatch.syspath_prepend(tmp_path)
    found: Plugins[str] = __import__(package).FOUND
    return found, lambda: {file for file in FILES if f"{package}.{file}" in sys.modules}


@pytest.mark.parametrize(("name", "file"), [("linear", "linear"), ("chat-template", "chat_template"), ("LORA", "lora")])
def test_a_file_that_is_called_like_its_plugin_is_the_only_one_imported(
    name: str, file: str, declaring: Declaring
) -> None:
    found, imported = declaring
    assert found.named(name) == f"{name} of {file}"
    assert imported() == {file}


def test_a_plugin_in_a_file_of_another_name_is_found_too(declaring: Declaring) -> None:
    found, _ = declaring
    assert found.named("two") == "two of several"


def test_all_are_in_the_order_of_their_names_whatever_was_asked_for_before(declaring: Declaring) -> None:
    found, imported = declaring
    found.named("one")
    assert [*found.all()] == ["LORA", "chat-template", "linear", "one", "two"]
    assert imported() == set(FILES)


@pytest.mark.parametrize("name", ["", "several", "Linear", "__init__", "../linear", "linear.linear", "json", "\0", "ß"])
def test_what_nothing_declares_is_not_found(name: str, declaring: Declaring) -> None:
    found, _ = declaring
    assert found.named(name) is None
