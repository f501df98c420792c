"""Signed bricks of a Hub: locked, fetched and held against their signature like those of a folder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks
from tests.support.hub import Hub, Tamper
from tests.support.keys import make_key, openssf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.sandbox import Sandbox

PROJECT = """\
[project]
name = "signed"

[base]
source = "hf:acme/base"

[bricks]
sql = { source = "hf:acme/skills", subfolder = "sql" }

[targets.assistant]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }]

[policy]
signatures = "required"
signers = { acme = "keys/acme.pub" }
"""
CLONE = {".gitattributes": b"*.safetensors filter=lfs\n", "README.md": b"---\nlicense: apache-2.0\n---\n"}
BASE = {**bricks.model(), **CLONE}
KEY = ("--public-key", "keys/acme.pub")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture
def online(hub: Hub, empty: Sandbox) -> Sandbox:
    """A project whose base, and whose brick in a folder of a repository, were signed with the tool of OpenSSF."""
    make_key(empty.root / "keys")
    hub.repository("acme/base").commit(signed(empty, "base", BASE))
    hub.repository("acme/skills").commit(below("sql", signed(empty, "sql", bricks.adapter())))
    empty.write({"brick.toml": PROJECT})
    return replace(empty, variables=hub.environment(empty.home / "hf"))


def signed(sandbox: Sandbox, name: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files with their signature."""
    folder = sandbox.write(files, f"published/{name}")
    assert openssf(folder, "sign", sandbox.root / "keys/acme.pem") == 0
    return {**files, "model.sig": (folder / "model.sig").read_bytes()}


def below(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def artifact(online: Sandbox) -> Path:
    return online.root / "dist/assistant"


def test_signed_bricks_are_locked_fetched_built_and_verified(hub: Hub, online: Sandbox) -> None:
    outcome = online.spawn("lock")
    assert outcome.code == 0, outcome.err
    assert online.lock.count('{ path = "model.sig"') == 2
    assert "README.md" not in online.lock
    assert all(record.range for record in hub.requests if record.weights), "a signature is checked without weights"
    assert online.spawn("build", "--locked").code == 0
    assert not list(artifact(online).rglob("model.sig")), "they are about the bricks"
    hub.reset_log()
    rows = online.spawn("verify", "sql", *KEY, "--json").json["verified"]
    assert [(row["name"], row["signer"]) for row in rows] == [("sql", "keys/acme.pub")]
    assert online.spawn("install", "--frozen", "--offline").code == 0
    assert hub.requests == ()


def test_the_signature_of_an_older_version_does_not_pass_for_a_newer_one(hub: Hub, online: Sandbox) -> None:
    assert online.spawn("lock").code == 0
    before = online.lock
    hub.find("acme/skills").commit(below("sql", bricks.adapter(fill=9)))
    outcome = online.spawn("update", "sql")
    assert outcome.code == 4
    assert "adapter_model.safetensors of `sql` is not what acme has signed" in outcome.err
    assert "perhaps of another version" in outcome.err
    assert online.lock == before


def test_a_file_that_was_added_to_a_signed_brick_is_refused(hub: Hub, online: Sandbox) -> None:
    hub.find("acme/base").commit({"chat_template.jinja": b"{{ messages }}"})
    outcome = online.spawn("lock")
    assert outcome.code == 4
    assert "chat_template.jinja of the base is not among what acme has signed" in outcome.err


def test_what_does_not_belong_to_a_brick_may_change_below_its_signature(hub: Hub, online: Sandbox) -> None:
    hub.find("acme/base").commit({"README.md": b"---\nlicense: mit\n---\n", "onnx/model.onnx": b"x"})
    assert online.spawn("lock").code == 0


def test_a_signature_that_the_hub_does_not_send_as_locked_is_refused(hub: Hub, online: Sandbox) -> None:
    assert online.spawn("lock").code == 0
    other = replace(online, variables=hub.environment(online.home / "another"))
    hub.fault("/acme/base/resolve/*/model.sig", Tamper())
    outcome = other.spawn("install", "--locked")
    assert outcome.code == 4
    assert "model.sig" in outcome.err
