"""A brick goes the whole way: made here, published, added, locked, built, updated, taken back."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.core.dtypes import DType
from brickctl.core.made_for import Vocabulary
from brickctl.core.registry_line import RegistryEntry, parse_line
from tests.support import sandbox as bricks
from tests.support.hub import Cut, Hub, Status
from tests.support.sandbox import Sandbox
from tests.support.stage import TOKENIZER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.sandbox import Outcome

GIT = shutil.which("git") or "git"
PROJECT = """\
[project]
name = "consumer"
default-registry = "corp"

[registries]
corp = "../registry"

[base]
source = "hf:acme/base"
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        base = {**bricks.model(), "tokenizer.json": TOKENIZER.encode()}
        running.repository("acme/base", card={"license": "apache-2.0"}).commit(base)
        yield running


@pytest.fixture
def publisher(empty: Sandbox, hub: Hub) -> Sandbox:
    """A folder with an adapter, a registry beside it, and the token of somebody who may write."""
    empty.write({"config.json": '{"v":1}\n'}, "../registry")
    empty.write({**bricks.adapter(), "README.md": "---\nlicense: mit\n---\n# SQL\n"}, "sql")
    variables = {**hub.environment(empty.home / "hf"), "HF_TOKEN": hub.token, "SOURCE_DATE_EPOCH": "1767225600"}
    return replace(empty, variables=variables)


def publish(sandbox: Sandbox, release: str, *more: str, folder: str = "sql") -> Outcome:
    return sandbox.spawn("publish", folder, release, "--index", "../registry", *more)


def line(sandbox: Sandbox, name: str = "acme/sql", at: int = -1) -> RegistryEntry:
    page = sandbox.root.parent / "registry/index" / name
    return parse_line(page.read_bytes().splitlines(keepends=True)[at], file="page")


def consumer(sandbox: Sandbox, name: str = "consumer") -> Sandbox:
    """A fresh project beside the registry, with caches of its own."""
    root = sandbox.root.parent / name
    root.mkdir()
    home = sandbox.root.parent / f"{name}s-home"
    variables = {**sandbox.variables, "HF_HOME": str(home / "hf")}
    made = Sandbox(root, home, {name: value for name, value in variables.items() if name != "HF_TOKEN"})
    made.write({"brick.toml": PROJECT})
    return made


def good(outcome: Outcome) -> Any:
    assert outcome.code == 0, outcome.err
    return outcome.json


@pytest.mark.full
@pytest.mark.parametrize("to", [("--to", "hf:acme/sql-lora"), ()], ids=["Hub", "registry"])
def test_a_brick_travels_the_whole_circle(to: tuple[str, ...], publisher: Sandbox) -> None:
    first = good(publish(publisher, "acme/sql@1.0.0", "--base", "hf:acme/base", *to, "--json"))
    assert (first["kind"], first["license"], first["left-out"]) == ("adapter", "MIT", ["README.md"])
    project = consumer(publisher)
    good(project.spawn("add", "acme/sql", "--json"))
    assert 'sql = "acme/sql@^1.0.0"' in project.manifest
    target = '\n[targets.chat]\napply = [{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }]\n'
    project.write({"brick.toml": project.manifest + target})
    for verb in ("lock", "install", "build", "verify"):
        good(project.spawn(verb, "--json"))
    assert good(project.spawn("outdated", "--json"))["outdated"] == []
    publisher.write(bricks.adapter(fill=9), "sql")
    good(publish(publisher, "acme/sql@1.1.0", "--base", "hf:acme/base", *to, "--json"))
    (newer,) = good(project.spawn("outdated", "--json"))["outdated"]
    assert (newer["name"], newer["locked"], newer["update"]) == ("sql", "1.0.0", "1.1.0")
    good(project.spawn("update", "--json"))
    assert 'version = "1.1.0"' in project.lock
    good(project.spawn("build", "--json"))
    assert good(publisher.spawn("yank", "acme/sql@1.1.0", "--index", "../registry", "--json"))["yanked"]
    good(project.spawn("lock", "--json"))
    assert 'version = "1.1.0"' in project.lock, "who has locked it keeps it"
    fresh = consumer(publisher, "newcomer")
    good(fresh.spawn("add", "acme/sql", "--json"))
    assert 'version = "1.0.0"' in fresh.lock, "who comes new gets what was not taken back"
    found = good(project.spawn("audit", "--json"))["findings"]
    assert [(one["rule"], one["brick"]) for one in found] == [("yanked", "sql")]
    good(project.spawn("update", "--json"))
    assert 'version = "1.0.0"' in project.lock
    assert project.spawn("verify").code == 4, "the artifact is made of the version that was taken back"
    good(project.spawn("build", "--json"))
    good(project.spawn("verify", "--json"))


def test_the_line_says_what_was_checked_and_where_the_files_are(publisher: Sandbox, hub: Hub) -> None:
    more = ("--to", "hf:acme/sql-lora", "--base", "hf:acme/base", "--summary", "SQL from questions", "--tag", "sql")
    told = good(publish(publisher, "acme/sql@1.0.0", *more, "--json"))
    entry = line(publisher)
    assert (entry.source, entry.commit) == ("hf:acme/sql-lora", told["commit"])
    assert (entry.kind, entry.license, entry.summary, entry.tags) == ("adapter", "MIT", "SQL from questions", ("sql",))
    assert entry.published == "2026-01-01T00:00:00Z"
    assert entry.base is not None
    assert entry.base.source == "hf:acme/base"
    assert entry.base.vocabulary == Vocabulary.of({"a": 0, "b": 1, "c": 2})
    assert entry.base.dtype is DType.BF16
    assert [file.path for file in entry.files] == ["adapter_config.json", "adapter_model.safetensors"]
    sent = {record.path for record in hub.requests if record.method == "PUT"}
    assert len(sent) == 1, "the weights, once"


def test_nothing_is_sent_or_written_where_nothing_is_to_be_done(publisher: Sandbox, hub: Hub) -> None:
    dry = good(publish(publisher, "acme/sql@1.0.0", "--to", "hf:acme/sql-lora", "--dry-run", "--json"))
    assert (dry["new"], dry["commit"]) == (True, None)
    assert not (publisher.root.parent / "registry/index").exists()
    assert not [record for record in hub.requests if record.method in {"POST", "PUT"}]
    good(publish(publisher, "acme/sql@1.0.0", "--to", "hf:acme/sql-lora", "--json"))
    before = line(publisher)
    hub.reset_log()
    again = good(publish(publisher, "acme/sql@1.0.0", "--to", "hf:acme/sql-lora", "--json"))
    assert (again["new"], line(publisher)) == (False, before)
    assert not [record for record in hub.requests if record.method in {"POST", "PUT"}]
    good(publish(publisher, "acme/sql@1.0.1", "--to", "hf:acme/sql-lora", "--json"))
    assert line(publisher).commit == before.commit, "the Hub has these very files"


def test_a_published_version_never_changes(publisher: Sandbox) -> None:
    good(publish(publisher, "acme/sql@1.0.0", "--json"))
    publisher.write(bricks.adapter(fill=9), "sql")
    outcome = publish(publisher, "acme/sql@1.0.0")
    assert outcome.code == 2
    assert "acme/sql 1.0.0 is published already" in outcome.err
    assert "its `files` would not be the same" in outcome.err
    assert line(publisher).files[1].sha256 != ""
    assert (publisher.root.parent / "registry/files/acme/sql/1.0.0/adapter_model.safetensors").read_bytes()[-1] == 7


def test_what_does_not_fit_its_base_is_not_published(publisher: Sandbox) -> None:
    publisher.write(bricks.adapter(width=16), "sql")
    outcome = publish(publisher, "acme/sql@1.0.0", "--base", "hf:acme/base")
    assert outcome.code == 1
    assert "`sql` does not fit the base" in outcome.err
    assert not (publisher.root.parent / "registry/index").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("sql@1.0.0",), 2, "`sql` is no name of a brick"),
        (("acme/sql",), 2, "`acme/sql` has no full version"),
        (("acme/sql@1.0",), 2, "`acme/sql@1.0` has no full version"),
        (("acme/sql@1.0.0", "--license", "Free"), 2, "`Free` is no licence that SPDX knows"),
        (("acme/sql@1.0.0", "--kind", "expert"), 2, "holds no expert"),
        (("acme/sql@1.0.0", "--tag", "Two Words"), 2, "`tags` are at most 20 words"),
        (("acme/sql@1.0.0", "--needs", "acme/expert@^1"), 1, "the registry has no acme/expert ^1"),
        (("acme/sql@1.0.0", "--needs", "./folder"), 2, "is nothing that a published brick can need"),
        (("acme/sql@1.0.0", "--needs", "hf:acme/base"), 2, "is nothing that a published brick can need"),
        (("acme/sql@1.0.0", "--needs-base"), 2, "there is no base that others could have"),
        (("acme/sql@1.0.0", "--to", "acme/sql"), 2, "`acme/sql` is no repository to publish to"),
        (("acme/sql@1.0.0", "--to", "hf:acme/sql", "--offline"), 6, "cannot be written without the network"),
    ],
)
def test_what_cannot_be_published_is_refused(
    arguments: tuple[str, ...], code: int, words: str, publisher: Sandbox, hub: Hub
) -> None:
    outcome = publish(publisher, *arguments)
    assert outcome.code == code, outcome.err
    assert words in outcome.err
    assert not (publisher.root.parent / "registry/index").exists()
    assert not [record for record in hub.requests if record.method == "PUT"]


def test_a_folder_without_a_licence_or_that_is_no_registry_is_refused(publisher: Sandbox) -> None:
    (publisher.root / "sql/README.md").unlink()
    assert "nobody says under which licence acme/sql is" in publish(publisher, "acme/sql@1.0.0").err
    outcome = publisher.spawn("publish", "sql", "acme/sql@1.0.0", "--index", "sql", "--license", "MIT")
    assert (outcome.code, "is no registry" in outcome.err) == (1, True)


def test_needs_are_written_down_and_fulfilled(publisher: Sandbox) -> None:
    publisher.write(bricks.model(fill=3), "expert")
    good(publish(publisher, "acme/expert@1.0.0", "--license", "MIT", "--json", folder="expert"))
    more = ("--base", "hf:acme/base", "--needs", "acme/expert@^1", "--needs-base")
    good(publish(publisher, "acme/sql@1.0.0", *more, "--json"))
    assert list(map(str, line(publisher).dependencies))[:1] == ["acme/expert ^1"]
    project = consumer(publisher)
    good(project.spawn("add", "acme/sql", "--json"))
    assert 'name = "corp:acme/expert"' in project.lock


def test_a_token_that_may_not_write_is_named_and_never_shown(publisher: Sandbox) -> None:
    stranger = replace(publisher, variables={**publisher.variables, "HF_TOKEN": "hf_stranger"})
    outcome = publish(stranger, "acme/sql@1.0.0", "--to", "hf:acme/sql-lora")
    assert outcome.code == 1
    assert "the Hub does not let you write to hf:acme/sql-lora" in outcome.err
    assert "hf_stranger" not in outcome.err + outcome.out
    assert not (publisher.root.parent / "registry/index").exists()


@pytest.mark.parametrize(
    ("pattern", "fault", "code"),
    [
        ("/api/models/*/commit/*", Status(412), 1),
        ("/api/models/*/commit/*", Status(500), 6),
        ("/uploads/*", Status(403), 1),
        ("/api/models/*/revision/*", Cut(10), 6),
    ],
)
def test_a_hub_that_fails_on_the_way_leaves_no_line(
    pattern: str, fault: Any, code: int, publisher: Sandbox, hub: Hub
) -> None:
    hub.fault(pattern, fault)
    outcome = publish(publisher, "acme/sql@1.0.0", "--to", "hf:acme/sql-lora")
    assert outcome.code == code, outcome.err
    assert not (publisher.root.parent / "registry/index").exists()


def test_yanking_changes_one_word_of_one_line(publisher: Sandbox) -> None:
    good(publish(publisher, "acme/sql@1.0.0", "--json"))
    good(publish(publisher, "acme/sql@1.1.0", "--json"))
    page = publisher.root.parent / "registry/index/acme/sql"
    before = page.read_bytes().splitlines()
    assert good(publisher.spawn("yank", "acme/sql@1.0.0", "--index", "../registry", "--json"))["written"]
    after = page.read_bytes().splitlines()
    assert after[1] == before[1]
    assert json.loads(after[0]) == {**json.loads(before[0]), "yanked": True}
    assert not good(publisher.spawn("yank", "acme/sql@1.0.0", "--index", "../registry", "--json"))["written"]
    good(publisher.spawn("yank", "acme/sql@1.0.0", "--index", "../registry", "--undo", "--json"))
    assert page.read_bytes().splitlines() == before
    missing = publisher.spawn("yank", "acme/sql@3.0.0", "--index", "../registry")
    assert (missing.code, "has no acme/sql 3.0.0" in missing.err) == (1, True)


@pytest.mark.full
def test_a_registry_in_git_is_pushed_and_cloned(publisher: Sandbox, tmp_path: Path) -> None:
    def git(folder: Path, *arguments: str) -> None:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@acme.example")
        subprocess.run([GIT, *identity, *arguments], cwd=folder, check=True, capture_output=True)

    registry = publisher.root.parent / "registry"
    git(registry, "init", "--initial-branch=main")
    good(publish(publisher, "acme/sql@1.0.0", "--base", "hf:acme/base", "--json"))
    git(registry, "add", "--all")
    git(registry, "commit", "--message", "acme/sql 1.0.0")
    git(tmp_path, "clone", str(registry), "clone")
    project = consumer(publisher)
    project.write({"brick.toml": project.manifest.replace("../registry", str(tmp_path / "clone"))})
    good(project.spawn("add", "acme/sql", "--json"))
    assert 'source = "index:acme/sql/1.0.0"' in project.lock


def test_a_version_in_a_line_of_a_newer_format_is_not_published_again(publisher: Sandbox) -> None:
    good(publish(publisher, "acme/sql@1.0.0", "--json"))
    good(publish(publisher, "acme/sql@1.1.0", "--json"))
    page = publisher.root.parent / "registry/index/acme/sql"
    first, second = page.read_bytes().splitlines(keepends=True)
    before = first + second.replace(b'"v":1', b'"v":2')
    page.write_bytes(before)
    outcome = publish(publisher, "acme/sql@1.1.0")
    assert (outcome.code, "has lines that this brickctl cannot read" in outcome.err) == (1, True)
    assert page.read_bytes() == before


@pytest.mark.parametrize(
    "card",
    ["---\r\nlicense: mit\r\n---\r\n", "\ufeff---\nlicense: mit\n---\n", "---\nlicense: mit\n---\n" + "é" * 600_000],
)
def test_a_card_is_read_however_it_was_saved(card: str, publisher: Sandbox) -> None:
    publisher.write({"README.md": card}, "sql")
    assert good(publish(publisher, "acme/sql@1.0.0", "--dry-run", "--json"))["license"] == "MIT"


def test_a_card_that_cannot_be_read_says_nothing(publisher: Sandbox) -> None:
    publisher.write({"README.md": "---\nlicense: mit\ndate: 2024-02-30\n---\n"}, "sql")
    assert "nobody says under which licence" in publish(publisher, "acme/sql@1.0.0").err
