"""`init`: a project from nothing, or from a template; never over something that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli

from brickctl.core.manifest_format import parse_manifest
from brickctl.sources.open import builtin_registry

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

TEMPLATE = Path("templates/starter")


def test_a_new_project_can_be_read_and_is_named_for_its_folder(empty: Sandbox) -> None:
    outcome = empty.run("init", "My Assistant!")
    assert outcome.code == 0, outcome.err
    text = (empty.root / "My Assistant!" / "brick.toml").read_text()
    assert parse_manifest(text).project.name == "My-Assistant"
    assert text.count("#") > 10


def test_every_commented_example_is_true(empty: Sandbox) -> None:
    empty.run("init")
    examples = [line.removeprefix("# ") for line in empty.manifest.splitlines()]
    kept = [line for line in examples if not line[:1].isupper() and not line.startswith("date =")]
    text = "\n".join(kept).replace("date = 0.5", "base2 = 0.5").replace(", base2 = 0.5", "")
    manifest = parse_manifest(text)
    assert (list(manifest.bricks), list(manifest.targets)) == (["sql"], ["assistant"])
    assert manifest.checks[0].table.number_or_none("min") == 0.9


def test_git_is_told_what_to_leave_out_once(empty: Sandbox) -> None:
    empty.write({".gitignore": "*.pyc\n/dist"})
    empty.run("init")
    assert (empty.root / ".gitignore").read_text() == "*.pyc\n/dist\n.brickctl/\n"


def test_a_project_is_never_overwritten(project: Sandbox) -> None:
    before = project.manifest
    outcome = project.run("init")
    assert outcome.code == 2
    assert "brick.toml exists already" in outcome.err
    assert "`brickctl add`" in outcome.err
    assert project.manifest == before


def test_a_template_is_copied_byte_for_byte(empty: Sandbox) -> None:
    answer = empty.run("init", "--template", "starter", "--json").json
    source = builtin_registry() / TEMPLATE
    for path in answer["files"]:
        if path != ".gitignore":
            assert (empty.root / path).read_bytes() == (source / path).read_bytes()
    assert sum(path.is_file() for path in source.rglob("*")) == len(answer["files"]) - 1


def test_a_template_can_be_given_another_name(empty: Sandbox) -> None:
    empty.run("init", "--template", "starter", "--name", "mine")
    before = tomli.loads((builtin_registry() / TEMPLATE / "brick.toml").read_text())
    assert tomli.loads(empty.manifest) == {**before, "project": {**before["project"], "name": "mine"}}


def test_one_file_in_the_way_stops_the_whole_template(empty: Sandbox) -> None:
    empty.write({"checks/upper.jsonl": "mine"})
    outcome = empty.run("init", "--template", "starter")
    assert outcome.code == 2
    assert "upper.jsonl exists already" in outcome.err
    assert sorted(path.name for path in empty.root.rglob("*")) == ["checks", "upper.jsonl"]


@pytest.mark.parametrize(("name", "hint"), [("startr", "did you mean `starter`?"), ("zzz", "there are: starter")])
def test_an_unknown_template_names_those_that_exist(empty: Sandbox, name: str, hint: str) -> None:
    outcome = empty.run("init", "--template", name)
    assert outcome.code == 1
    assert hint in outcome.err
    assert list(empty.root.iterdir()) == []


def test_a_name_that_cannot_be_is_refused(empty: Sandbox) -> None:
    outcome = empty.run("init", "--name", "my model")
    assert outcome.code == 2
    assert "`my model` is no name for a project" in outcome.err
    assert list(empty.root.iterdir()) == []
