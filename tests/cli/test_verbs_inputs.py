"""A chat template in a file of the project: pinned in the lock, noticed when it changes, refused when it is none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brickctl.core.digests import sha256_bytes
from tests.support import sandbox as bricks
from tests.support.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sandbox import Sandbox

PATH = "templates/chat.jinja"
TEMPLATE = "{{ messages }}\r\n<|größe|>\n"
PROJECT = """\
[project]
name = "support"

[base]
source = "path:base"

[targets.assistant]
apply = [{ op = "chat-template", file = "templates/chat.jinja" }]

[targets.plain]
from = { target = "assistant" }
apply = []
"""


@pytest.fixture
def templated(empty: Sandbox) -> Sandbox:
    """A base and a file with a template for it."""
    empty.write(bricks.model(), "base")
    empty.write({"brick.toml": PROJECT, PATH: TEMPLATE})
    return empty


def locked_input(text: str = TEMPLATE) -> str:
    content = text.encode()
    return f'[[input]]\npath = "{PATH}"\nsize = {len(content)}\nsha256 = "{sha256_bytes(content)}"\n'


def made(sandbox: Sandbox, target: str = "assistant") -> bytes:
    return (sandbox.root / "dist" / target / "chat_template.jinja").read_bytes()


def test_the_file_stands_in_every_artifact_byte_for_byte_and_in_the_lock_and_the_record(templated: Sandbox) -> None:
    assert templated.run("build").code == 0
    assert made(templated) == made(templated, "plain") == TEMPLATE.encode()
    assert templated.lock.endswith("\n" + locked_input())
    record = json.loads((templated.root / "dist" / "plain" / "brick.build.json").read_text())
    parts = record["predicate"]["buildDefinition"]["resolvedDependencies"]
    digest = {"sha256": sha256_bytes(TEMPLATE.encode())}
    assert parts[-1] == {"name": f"./{PATH}", "uri": f"path:{PATH}", "digest": digest}
    for arguments in (("lock", "--check"), ("build", "--locked"), ("build", "--frozen"), ("build", "--check")):
        outcome = templated.run(*arguments)
        assert outcome.code == 0, outcome.err
    assert templated.run("build").out.startswith("assistant: up to date")


def test_an_edit_is_taken_and_locked_by_the_next_build(templated: Sandbox) -> None:
    assert templated.run("build").code == 0
    templated.write({PATH: "{{ other }}"})
    outcome = templated.run("build")
    assert (outcome.code, "built" in outcome.out) == (0, True), outcome.err
    assert made(templated) == b"{{ other }}"
    assert templated.lock.endswith("\n" + locked_input("{{ other }}"))


def test_an_edit_is_refused_where_the_lock_may_not_change(templated: Sandbox) -> None:
    assert templated.run("build").code == 0
    before = templated.lock
    templated.write({PATH: "{{ other }}"})
    for arguments in (("build", "--locked"), ("lock", "--check")):
        outcome = templated.run(*arguments)
        assert outcome.code == 3
        assert f"cause: `{PATH}` holds something else than was locked" in outcome.err
    for arguments in (("build", "--frozen"), ("build", "--frozen", "--dry-run"), ("verify",)):
        outcome = templated.run(*arguments)
        assert outcome.code == 4
        assert f"error: `{PATH}` is not what was locked" in outcome.err
        assert "brick.toml line 8" in outcome.err
    assert (templated.lock, made(templated)) == (before, TEMPLATE.encode())


def test_a_lock_from_before_the_step_is_stale_and_one_from_after_it_too(templated: Sandbox) -> None:
    without = PROJECT.replace('{ op = "chat-template", file = "templates/chat.jinja" }', "")
    templated.write({"brick.toml": without})
    assert templated.run("lock").code == 0
    assert "[[input]]" not in templated.lock
    templated.write({"brick.toml": PROJECT})
    outcome = templated.run("build", "--locked")
    assert (outcome.code, f"`{PATH}` is read by something in brick.toml, and not" in outcome.err) == (
        3,
        True,
    )
    outcome = templated.run("build", "--frozen")
    assert (outcome.code, f"`{PATH}` is not in the lock" in outcome.err) == (3, True)
    assert templated.run("lock").code == 0
    templated.write({"brick.toml": without})
    outcome = templated.run("lock", "--check")
    assert (outcome.code, f"`{PATH}` is in the lock, and nothing in brick.toml reads it" in outcome.err) == (3, True)
    assert templated.run("lock").out == f"removed  {PATH}\n"
    assert "[[input]]" not in templated.lock


def test_what_only_looks_leaves_the_lock_as_it_was(templated: Sandbox) -> None:
    assert templated.run("build").code == 0
    before = templated.lock
    templated.write({PATH: "{{ other }}"})
    assert templated.run("build", "--dry-run").code == 0
    assert templated.run("build", "--check").code == 7
    assert templated.lock == before
    outcome = templated.run("lock", "--json")
    assert outcome.json["inputs"] == [{"path": PATH, "change": "updated"}]


def test_what_the_lock_does_not_say_is_in_a_file_and_not_in_the_manifest(templated: Sandbox) -> None:
    assert templated.run("lock").code == 0
    templated.write({PATH: "{{ other }}"})
    outcome = templated.run("lock", "--check")
    assert "error: brick.lock does not say what the files say that targets read\n" in outcome.err


@pytest.mark.parametrize("path", ["brick.lock", "dist/assistant/chat_template.jinja", ".brickctl/x"])
def test_what_brickctl_writes_itself_is_no_input(path: str, templated: Sandbox) -> None:
    templated.write({"brick.toml": PROJECT.replace(PATH, path)})
    outcome = templated.run("lock")
    assert (outcome.code, f"error: `{path}` is what brickctl writes itself\n" in outcome.err) == (2, True), outcome.err


def test_what_the_system_refuses_is_said(templated: Sandbox) -> None:
    name = "a" * 300
    templated.write({"brick.toml": PROJECT.replace(PATH, name)})
    outcome = templated.run("lock")
    assert (outcome.code, "cause: File name too long" in outcome.err) == (2, True), outcome.err
    templated.write({"brick.toml": PROJECT})
    (templated.root / PATH).unlink()
    (templated.root / PATH).symlink_to("chat.jinja")
    outcome = templated.run("lock")
    assert (outcome.code, f"error: `{PATH}` cannot be read\n" in outcome.err) == (2, True), outcome.err


def test_verify_reads_the_file_too(templated: Sandbox) -> None:
    assert templated.run("build").code == 0
    names = [entry["name"] for entry in templated.run("verify", "--json").json["verified"]]
    assert names[:2] == ["base", PATH]


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"", 2, "is empty"),
        (b"x\n\xff", 2, "is not UTF-8 text: see line 2"),
        (b"\xef\xbb\xbfx", 2, "begins with a byte order mark, which every prompt would begin with"),
        (b"x" * 1_000_001, 2, "has more than 1,000,000 bytes"),
    ],
)
def test_what_is_no_template_is_not_locked(content: bytes, code: int, message: str, templated: Sandbox) -> None:
    templated.write({PATH: content})
    outcome = templated.run("lock")
    assert (outcome.code, f"error: `{PATH}` {message}\n" in outcome.err) == (code, True), outcome.err
    assert "at: brick.toml line 8" in outcome.err
    assert not (templated.root / "brick.lock").exists()


def test_a_folder_and_a_link_that_leaves_the_project_are_refused(templated: Sandbox) -> None:
    file = templated.root / PATH
    file.unlink()
    file.mkdir()
    outcome = templated.run("lock")
    assert (outcome.code, f"error: `{PATH}` is no file\n" in outcome.err) == (2, True)
    file.rmdir()
    outside = templated.home / "secret"
    outside.parent.mkdir(exist_ok=True)
    outside.write_text("mine")
    file.symlink_to(outside)
    outcome = templated.run("lock")
    assert (outcome.code, f"error: `{PATH}` lies outside the project\n" in outcome.err) == (5, True)


@pytest.mark.parametrize("path", ["../chat.jinja", "/chat.jinja", "a//b", ""])
def test_a_path_that_could_leave_the_project_is_no_file_of_it(path: str, templated: Sandbox) -> None:
    templated.write({"brick.toml": PROJECT.replace(PATH, path)})
    outcome = templated.run("lock")
    assert (outcome.code, f"error: `{path}` is no file of this project\n" in outcome.err) == (2, True), outcome.err


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.repository("acme/base").commit(bricks.model())
        yield running


def test_a_missing_file_is_found_before_the_network_is_asked_for_anything(hub: Hub, templated: Sandbox) -> None:
    online = replace(templated, variables=hub.environment(templated.home / "hf"))
    online.write({"brick.toml": PROJECT.replace("path:base", "hf:acme/base")})
    file = online.root / PATH
    file.unlink()
    outcome = online.spawn("build")
    assert (outcome.code, f"error: `{PATH}` is not there\n" in outcome.err) == (1, True), outcome.err
    assert "brick.toml line 8" in outcome.err
    assert not hub.requests

    file.write_text(TEMPLATE)
    assert online.spawn("lock").code == 0
    file.unlink()
    asked = len(hub.requests)
    for flags in ((), ("--locked",), ("--frozen",)):
        outcome = online.spawn("build", *flags)
        assert (outcome.code, f"error: `{PATH}` is not there\n" in outcome.err) == (1, True), outcome.err
    assert len(hub.requests) == asked
