"""What the shared options mean."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from brickctl.cli import options
from brickctl.errors import NotFound


def value_of(option: Callable[..., Any], *arguments: str) -> object:
    """What a verb with one option gets."""
    seen: dict[str, object] = {}

    @click.command()
    @option
    def command(**values: object) -> None:
        seen.update(values)

    result = CliRunner().invoke(command, arguments)
    if result.exception is not None:
        raise result.exception
    (value,) = seen.values()
    return value


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's folder."""
    (tmp_path / "brick.toml").touch()
    return tmp_path


def test_the_project_is_found_from_a_folder_inside_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = project / "data" / "checks"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert value_of(options.project) == project


def test_a_named_project_is_not_searched_for_above(project: Path) -> None:
    inside = project / "data"
    inside.mkdir()
    with pytest.raises(NotFound, match=r"no brick\.toml in"):
        value_of(options.project, "--project", str(inside))


def test_a_named_project_may_be_relative(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent)
    assert value_of(options.project, "--project", project.name) == project


def test_no_project_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        options.find_project(tmp_path)
    assert raised.value.hint == "`brickctl init` starts a project"


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("0", False), ("", False), ("odd", False)])
def test_offline_follows_the_variable_of_the_hub(monkeypatch: pytest.MonkeyPatch, value: str, offline: bool) -> None:  # noqa: FBT001 - a column of the table above
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert value_of(options.offline) is offline


def test_offline_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert value_of(options.offline) is False
    assert value_of(options.offline, "--offline") is True


def test_memory_is_left_to_the_plan_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRICKCTL_MEMORY", raising=False)
    assert value_of(options.memory) is None
    assert value_of(options.memory, "--memory", "1GB") == 10**9
    monkeypatch.setenv("BRICKCTL_MEMORY", "2MiB")
    assert value_of(options.memory) == 2**21


def test_threads_are_at_least_one() -> None:
    assert value_of(options.threads, "--threads", "3") == 3
    assert value_of(options.threads) == options.default_threads() >= 1
    with pytest.raises(SystemExit):
        value_of(options.threads, "--threads", "0")


@pytest.mark.parametrize("size", ["64", "many", "0B", "-1MiB"])
def test_memory_must_be_a_size(size: str) -> None:
    with pytest.raises(SystemExit):
        value_of(options.memory, "--memory", size)
