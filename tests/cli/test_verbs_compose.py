"""`merge` and `stack` with `--save`: a project that says the same, and that moves with the tree in which it lies."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Sandbox

CHAT = ("merge", "./models/base", "./models/chat", "--method", "linear", "-o", "out", "--tokenizer")
MERGE = ("merge", "./models/base", "./bricks/sql", "path:bricks/mail", "-o", "out", "--save")


@pytest.fixture
def tree(empty: Sandbox) -> Sandbox:
    """A base and two adapters in one tree; no project."""
    empty.write(bricks.model(), "models/base")
    empty.write(bricks.adapter(fill=1), "bricks/sql")
    empty.write(bricks.adapter(fill=2), "bricks/mail")
    return empty


@pytest.fixture
def speaking(tree: Sandbox) -> Sandbox:
    """The tree, and models of sixteen words each, none of which two of them have in common."""
    for fill, name in enumerate(("base", "chat", "poet")):
        vocab = {f"{name}{number}": number for number in range(16)}
        words = {"added_tokens": [], "model": {"type": "WordLevel", "vocab": vocab, "merges": []}}
        tree.write({**bricks.model(fill=fill), "tokenizer.json": json.dumps(words)}, f"models/{name}")
    return tree


def words(sandbox: Sandbox) -> set[str]:
    """Whose words the result has."""
    vocab = json.loads((sandbox.root / "out" / "tokenizer.json").read_text())["model"]["vocab"]
    return {word.rstrip("0123456789") for word in vocab}


def saved(sandbox: Sandbox, folder: str = "recipe") -> Sandbox:
    """The project that was saved there."""
    return replace(sandbox, root=sandbox.root / folder)


def test_a_saved_project_names_folders_relative_to_itself_as_its_lock_does(tree: Sandbox) -> None:
    assert tree.run(*MERGE, "recipe/of/mine").code == 0
    project = saved(tree, "recipe/of/mine")
    for text in (project.manifest, project.lock):
        assert str(tree.root) not in text
        assert 'source = "path:../../../models/base"' in text
        assert 'source = "path:../../../bricks/mail"' in text


def test_folders_given_absolutely_are_relative_too_and_a_project_above_them_needs_no_way_up(tree: Sandbox) -> None:
    base, sql = tree.root / "models" / "base", tree.root / "bricks" / "sql"
    assert tree.run("stack", str(base), str(sql), "-o", "out", "--save", ".").code == 0
    for text in (tree.manifest, tree.lock):
        assert str(tree.root) not in text
        assert 'source = "path:models/base"' in text


@pytest.mark.parametrize("folder", ["recipe", ".", "a/b"])
def test_a_fresh_lock_of_a_saved_project_is_the_same_byte_for_byte(folder: str, tree: Sandbox) -> None:
    assert tree.run(*MERGE, folder).code == 0
    project = saved(tree, folder)
    before = project.lock
    assert project.run("lock", "--check").code == 0
    (project.root / "brick.lock").unlink()
    assert project.run("lock").code == 0
    assert project.lock == before


def test_a_saved_project_builds_frozen_where_its_tree_was_moved_to(tree: Sandbox) -> None:
    assert tree.run(*MERGE, "recipe").code == 0
    weights = (tree.root / "out" / "model.safetensors").read_bytes()
    elsewhere = tree.root.with_name("elsewhere")
    shutil.move(tree.root, elsewhere)
    moved = replace(tree, root=elsewhere / "recipe")

    outcome = moved.run("build", "--frozen")

    assert outcome.code == 0, outcome.err
    assert (moved.root / "dist" / "model" / "model.safetensors").read_bytes() == weights
    assert moved.run("verify").code == 0


def test_what_was_built_where_the_saved_project_builds_is_up_to_date_there(tree: Sandbox) -> None:
    arguments = ("merge", "./models/base", "./bricks/sql", "-o", "recipe/dist/model", "--save", "recipe")
    assert tree.run(*arguments).code == 0
    assert saved(tree).run("build", "--frozen").out.startswith("model: up to date")


def test_a_way_up_is_counted_behind_links_where_the_file_system_counts_it(tree: Sandbox, tmp_path: Path) -> None:
    """The saved project lies behind one link, and a brick is named with `..` behind another."""
    deep = tmp_path / "some" / "where" / "deep"
    deep.mkdir(parents=True)
    (tree.root / "link").symlink_to(deep)
    (tree.root / "models-link").symlink_to(tree.root / "models" / "base")
    arguments = ("./models-link/../base", "./bricks/sql", "-o", "out", "--save", "link/recipe")

    assert tree.run("merge", *arguments).code == 0
    project = replace(tree, root=deep / "recipe")
    assert 'source = "path:../../../../project/models/base"' in project.manifest
    assert project.run("build", "--frozen").code == 0


def test_folders_may_have_any_name_that_prints(tree: Sandbox) -> None:
    (tree.root / "models").rename(tree.root / 'mod"els 🧱')
    outcome = tree.run("merge", './mod"els 🧱/base', "./bricks/sql", "-o", "out", "--save", "recipe")
    assert outcome.code == 0, outcome.err
    assert saved(tree).run("build", "--frozen").code == 0


def test_a_merge_that_fails_leaves_no_folder_for_its_project(tree: Sandbox) -> None:
    tree.write(bricks.adapter(width=16), "bricks/wide")
    (tree.root / "kept").mkdir()
    for folder in ("new/recipe", "kept"):
        assert tree.run("merge", "./models/base", "./bricks/wide", "-o", "out", "--save", folder).code == 1
    assert not (tree.root / "new").exists()
    assert (tree.root / "kept").is_dir()


def test_a_project_is_not_saved_into_the_artifact_which_the_next_build_would_replace(tree: Sandbox) -> None:
    outcome = tree.run(*MERGE, "out/recipe")
    assert outcome.code == 2
    assert "out/recipe lies in out" in outcome.err
    assert not (tree.root / "out").exists()


def test_without_a_saved_project_the_record_tells_only_the_names_of_folders(tree: Sandbox) -> None:
    assert tree.run(*MERGE[:-1]).code == 0
    record = (tree.root / "out" / "brick.build.json").read_text()
    assert '"path:base"' in record
    assert str(tree.root) not in record


@pytest.mark.parametrize(
    ("tokenizer", "whose"),
    [
        ("base", {"base"}),
        ("union", {"base", "chat"}),
        ("chat", {"chat"}),
        ("./models/chat", {"chat"}),
        ("./models/poet", {"poet"}),
    ],
)
def test_whose_tokens_the_result_has_is_said_as_in_a_manifest(
    tokenizer: str, whose: set[str], speaking: Sandbox
) -> None:
    outcome = speaking.run(*CHAT, tokenizer, "--save", "recipe")
    assert outcome.code == 0, outcome.err
    assert words(speaking) == whose
    project = saved(speaking)
    target = tomllib.loads(project.manifest)["targets"]["model"]
    assert target["apply"][0]["tokenizer"] == tokenizer.rpartition("/")[2]
    assert target["apply"][0]["bricks"] == [{"brick": "chat", "weight": 1.0}]
    assert project.run("build", "--frozen").code == 0
    built = project.root / "dist" / "model" / "model.safetensors"
    assert built.read_bytes() == (speaking.root / "out" / "model.safetensors").read_bytes()


def test_other_tokens_without_a_word_of_whose_the_result_has_are_refused_with_the_option_to_give(
    speaking: Sandbox,
) -> None:
    outcome = speaking.run(*CHAT[:-1])
    assert outcome.code == 1
    assert '"base" or "union" (--tokenizer without a manifest)' in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("chta",), "error: `chta` names no tokenizer\n"),
        (("chta",), "hint: did you mean `chat`?\n"),
        (("union", "--set", 'tokenizer="base"'), "error: `tokenizer` is given twice, by --tokenizer and by --set\n"),
        (("./bricks/sql",), "error: `sql` has no vocabulary of its own\n"),
    ],
)
def test_a_tokenizer_that_cannot_be_is_a_usage_error(
    arguments: tuple[str, ...], message: str, speaking: Sandbox
) -> None:
    outcome = speaking.run(*CHAT, *arguments)
    assert (outcome.code, message in outcome.err) == (2, True), outcome.err
    assert not (speaking.root / "out").exists()
