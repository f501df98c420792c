"""`add` and `remove`: brick.toml keeps its comments, and nothing is lost when something is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox


def test_a_brick_is_added_behind_the_others_and_locked(project: Sandbox) -> None:
    project.write(bricks.adapter(fill=3), "bricks/Legal v2")
    before = project.manifest
    outcome = project.run("add", "./bricks/Legal v2", "--license", "mit")
    assert outcome.code == 0, outcome.err
    line = 'legal-v2 = { source = "path:bricks/Legal v2", license = "MIT" }\n'
    assert project.manifest.replace(line, "") == before
    assert project.manifest.splitlines()[10] == line.strip()
    assert 'name = "legal-v2"' in project.lock


def test_only_the_new_brick_is_pinned_anew(project: Sandbox) -> None:
    project.run("lock")
    project.write(bricks.adapter(fill=3), "bricks/legal")
    answer = project.run("add", "./bricks/legal", "--json").json
    assert answer["name"] == "legal"
    assert [(change["name"], change["change"]) for change in answer["changes"]] == [("legal", "added")]


def test_a_misfit_leaves_both_files_byte_for_byte(project: Sandbox) -> None:
    project.run("lock")
    manifest, lock = project.manifest, project.lock
    project.write(bricks.adapter(width=16), "bricks/wide")
    outcome = project.run("add", "./bricks/wide")
    assert outcome.code == 1
    assert "`wide` does not fit the base" in outcome.err
    assert (project.manifest, project.lock) == (manifest, lock)


def test_a_failed_add_makes_no_lock_where_there_was_none(project: Sandbox) -> None:
    manifest = project.manifest
    outcome = project.run("add", "./bricks/nothing")
    assert outcome.code == 1
    assert "path:bricks/nothing is not there" in outcome.err
    assert project.manifest == manifest
    assert not (project.root / "brick.lock").exists()


def test_adding_the_same_again_is_nothing_to_do(project: Sandbox) -> None:
    project.run("lock")
    project.write(bricks.adapter(fill=3), "bricks/legal")
    project.run("add", "./bricks/legal")
    manifest = project.manifest
    assert project.run("add", "./bricks/legal").out == "nothing to do: `legal` is in brick.toml already\n"
    assert project.manifest == manifest


def test_a_taken_name_is_an_error_that_says_what_to_do(project: Sandbox) -> None:
    outcome = project.run("add", "./bricks/mail", "--name", "sql")
    assert outcome.code == 2
    assert "`sql` is in [bricks] already" in outcome.err
    assert "`brickctl remove sql`" in outcome.err


def test_folders_are_relative_to_where_the_command_is_given(project: Sandbox) -> None:
    place = project.write(bricks.adapter(fill=3), "bricks/legal")
    assert project.run("add", "./legal", cwd=place.parent).code == 0
    assert 'legal = { source = "path:bricks/legal" }' in project.manifest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("acme/sql-lora", "--name", "SQL"), "`SQL` cannot name a brick"),
        (("./bricks/mail", "--name", "base"), "`base` cannot name a brick"),
        (("./bricks/mail", "--name", "m", "--revision", "main"), "--revision means nothing for `./bricks/mail`"),
        (("hf:acme/sql@v1", "--revision", "v2"), "the revision is given twice"),
        (("hf:acme/legal", "--license", "free"), "`free` is no licence that SPDX knows"),
        (("acme/legal", "--registry", "corp"), "there is no registry `corp`"),
        (("hf:acme/legal/x/y",), "is no repository of the Hub"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    project: Sandbox, arguments: tuple[str, ...], message: str
) -> None:
    manifest = project.manifest
    outcome = project.run("add", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert project.manifest == manifest


def test_an_unknown_kind_suggests_one(project: Sandbox) -> None:
    outcome = project.run("add", "./bricks/mail", "--name", "m", "--kind", "adaptor")
    assert outcome.code == 1
    assert "did you mean `adapter`?" in outcome.err


def test_a_registry_name_without_a_range_gets_a_caret(empty: Sandbox) -> None:
    empty.run("init", ".", "--template", "starter")
    empty.write({"brick.toml": empty.manifest.replace('"starter/odd@^1" ', '"starter/odd@^1"')})
    outcome = empty.run("add", "starter/odd", "--name", "other")
    assert outcome.code == 0, outcome.err
    assert 'other = "starter/odd@^1.0.0"\n' in empty.manifest
    assert empty.run("add", "starter/odd@~1.0", "--name", "third", "--kind", "adapter").code == 0
    assert 'third = { brick = "starter/odd", version = "~1.0", kind = "adapter" }\n' in empty.manifest


def test_a_brick_is_removed_from_both_files_and_its_neighbours_stay(project: Sandbox) -> None:
    project.run("lock")
    before = project.manifest
    outcome = project.run("remove", "mail")
    assert outcome.code == 0
    assert outcome.out.startswith("removed  mail  ")
    assert project.manifest == before.replace('mail = { source = "path:bricks/mail", license = "MIT" }\n', "")
    assert '"mail"' not in project.lock
    assert project.run("lock", "--check").code == 0


def test_a_brick_in_use_is_not_removed_and_the_lines_are_named(project: Sandbox) -> None:
    before = project.manifest
    outcome = project.run("remove", "sql")
    assert outcome.code == 2
    assert "[targets.assistant] apply[0] uses `sql` (brick.toml line 15)" in outcome.err
    assert project.manifest == before


def test_removing_without_a_lock_makes_none(project: Sandbox) -> None:
    assert project.run("remove", "mail").out == "removed  mail\n"
    assert not (project.root / "brick.lock").exists()


def test_removing_what_is_not_there_suggests_what_is(project: Sandbox) -> None:
    outcome = project.run("remove", "mial")
    assert outcome.code == 1
    assert "did you mean `mail`?" in outcome.err
    assert project.run("remove", "base").code == 2


def test_removing_looks_at_no_brick(project: Sandbox) -> None:
    project.run("lock")
    for path in (project.root / "models" / "base").iterdir():
        path.unlink()
    assert project.run("remove", "mail").code == 0


def test_both_files_are_as_before_when_the_lock_cannot_be_written(
    project: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("lock")
    manifest, lock = project.manifest, project.lock

    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target.name == "brick.lock":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    assert project.run("remove", "mail").code == 1
    assert (project.manifest, project.lock) == (manifest, lock)
