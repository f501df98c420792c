"""What bricks say of the base that they were trained on, against the base that they get."""

import shutil
from pathlib import Path

import pytest

from brickctl.errors import PolicyViolation
from brickctl.workflows.lock import LockMode, current_lock
from tests.support.projects import REPOSITORY, Listener, opened, rewrite, starter_project

FILES = REPOSITORY / "registry" / "files" / "starter"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter project, where `upper` is a folder that names its base."""
    project = starter_project(tmp_path, monkeypatch)
    shutil.copytree(FILES / "upper" / "1.0.0", project / "mine")
    rewrite(project, 'upper = "starter/upper@^1"', 'upper = { source = "path:mine" }')
    return project


def declare(project: Path, base: str) -> None:
    config = project / "mine" / "adapter_config.json"
    text = config.read_text()
    assert '"base_model_name_or_path": null' in text
    config.write_text(text.replace('"base_model_name_or_path": null', f'"base_model_name_or_path": "{base}"'))


def use_folder_as_base(project: Path) -> None:
    shutil.copytree(FILES / "base" / "1.0.0", project / "model")
    path = project / "brick.toml"
    text = path.read_text()
    begin = text.index("[base]")
    end = text.index("[bricks]")
    path.write_text(f'{text[:begin]}[base]\nsource = "path:model"\n\n{text[end:]}')


def by_policy(project: Path) -> None:
    path = project / "brick.toml"
    path.write_text(f'{path.read_text()}\n[policy]\nbase = "declared"\n')


def test_a_brick_may_name_the_base_of_a_registry_or_none(project: Path) -> None:
    declare(project, "starter/base")
    by_policy(project)
    events = Listener()

    current_lock(opened(project, events), LockMode.REFRESH)

    assert events.warnings == []


@pytest.mark.parametrize("base", ["starter/base", "path:model"])
def test_another_base_than_one_that_is_not_on_the_hub_is_minded_by_the_policy_alone(project: Path, base: str) -> None:
    declare(project, "acme/other")
    if base == "path:model":
        use_folder_as_base(project)
    events = Listener()
    current_lock(opened(project, events), LockMode.REFRESH)
    assert events.warnings == []

    by_policy(project)
    for mode in (LockMode.REFRESH, LockMode.FROZEN):
        with pytest.raises(PolicyViolation, match=f"`upper` was trained on acme/other; the base is {base}"):
            current_lock(opened(project), mode)
