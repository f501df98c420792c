"""What is said of bricks that are published or taken back, and of those that cannot be: read the snapshot as a user."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks
from tests.support.hub import Hub, Says, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion

    from tests.support.hub import Fault
    from tests.support.sandbox import Outcome, Sandbox

SQL = {**bricks.adapter(), "README.md": b"---\nlicense: mit\n---\n# SQL\n"}
PUBLISH = ("publish", "sql", "acme/sql@1.0.0", "--index", "registry")
YANK = ("yank", "acme/sql@1.0.0", "--index", "registry")
HUB = ("--to", "hf:acme/sql-lora")
WEIGHTS_OF_NOBODY = "0" * 64


def nothing(_: Sandbox) -> None:
    """All is as it should be."""


def published(sandbox: Sandbox) -> None:
    assert sandbox.run(*PUBLISH).code == 0


def yanked(sandbox: Sandbox) -> None:
    published(sandbox)
    assert sandbox.run(*YANK).code == 0


def published_otherwise(sandbox: Sandbox) -> None:
    assert sandbox.run(*PUBLISH, "--license", "Apache-2.0", "--summary", "SQL").code == 0
    sandbox.write(bricks.adapter(fill=9), "sql")


def asks_for_code(sandbox: Sandbox) -> None:
    model = bricks.model()
    config = {**json.loads(model["config.json"]), "auto_map": {"AutoModel": "own.Model"}}
    sandbox.write({**model, "config.json": json.dumps(config)}, "expert")


def of_pickle(sandbox: Sandbox) -> None:
    sandbox.write({"adapter_config.json": b"{}", "adapter_model.bin": b"\x80"}, "expert")


def without_licence(sandbox: Sandbox) -> None:
    (sandbox.root / "sql/README.md").unlink()


def linked(folder: str) -> Callable[[Sandbox], None]:
    def link(sandbox: Sandbox) -> None:
        place = sandbox.root / "registry" / folder
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(sandbox.root / "elsewhere")

    return link


CASES: dict[str, tuple[tuple[str, ...], Callable[[Sandbox], None]]] = {
    "published": (PUBLISH, nothing),
    "dry run": ((*PUBLISH, "--dry-run"), nothing),
    "dry run, for the Hub": ((*PUBLISH, *HUB, "--dry-run"), nothing),
    "published already": (PUBLISH, published),
    "published already, otherwise": (PUBLISH, published_otherwise),
    "published already, elsewhere": ((*PUBLISH, *HUB), published),
    "no namespace": (("publish", "sql", "sql@1.0.0", "--index", "registry"), nothing),
    "no full version": (("publish", "sql", "acme/sql@1", "--index", "registry"), nothing),
    "no registry": (("publish", "sql", "acme/sql@1.0.0", "--index", "sql"), nothing),
    "no repository": ((*PUBLISH, "--to", "acme/sql"), nothing),
    "no licence": (PUBLISH, without_licence),
    "an unknown licence": ((*PUBLISH, "--license", "Free"), nothing),
    "another kind": ((*PUBLISH, "--kind", "expert"), nothing),
    "a base that does not fit": ((*PUBLISH, "--base", "./base"), nothing),
    "a need that nobody has": ((*PUBLISH, "--needs", "acme/expert@^1"), nothing),
    "a need that cannot be": ((*PUBLISH, "--needs", "hf:acme/expert"), nothing),
    "a base of nobody": ((*PUBLISH, "--needs-base"), nothing),
    "code from elsewhere": (("publish", "expert", *PUBLISH[2:], "--license", "MIT"), asks_for_code),
    "pickle": (("publish", "expert", *PUBLISH[2:], "--license", "MIT"), of_pickle),
    "no token": ((*PUBLISH, *HUB), nothing),
    "no network": ((*PUBLISH, *HUB, "--offline"), nothing),
    "a linked index": (PUBLISH, linked("index/acme")),
    "linked files": (PUBLISH, linked("files")),
    "yanked": (YANK, published),
    "yanked already": (YANK, yanked),
    "given again": ((*YANK, "--undo"), yanked),
    "yank what is not there": (("yank", "acme/sql@2.0.0", "--index", "registry"), published),
    "yank behind a link": (YANK, linked("index")),
}
"""The arguments, and what was done before."""


@pytest.fixture
def publisher(empty: Sandbox) -> Sandbox:
    empty.write(SQL, "sql")
    empty.write(bricks.model(width=16), "base")
    empty.write({"config.json": '{"v":1}\n'}, "registry")
    (empty.root / "elsewhere").mkdir()
    return empty


def lines(root: Path) -> list[Path]:
    return [path for path in (root / "registry/index").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", CASES)
def test_publishing_and_taking_back(
    name: str, publisher: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    arguments, prepare = CASES[name]
    prepare(publisher)
    before = {path: path.read_bytes() for path in lines(publisher.root)}
    outcome = publisher.run(*arguments)
    assert said(outcome) == snapshot
    assert not any((publisher.root / "elsewhere").iterdir()), "nothing is written through a link"
    if outcome.code:
        assert {path: path.read_bytes() for path in lines(publisher.root)} == before


@pytest.mark.parametrize("epoch", ["tomorrow", "9" * 30, "-1e3"])
def test_a_time_that_is_none(
    epoch: str, publisher: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    elsewhen = replace(publisher, variables={"SOURCE_DATE_EPOCH": epoch})
    assert said(elsewhen.run(*PUBLISH)) == snapshot
    assert lines(publisher.root) == []


FAULTS: dict[str, tuple[str, Fault]] = {
    "a token that may not write": ("/api/repos/create", Status(403)),
    "moved on": ("/api/models/*/commit/*", Status(412)),
    "not well": ("/api/models/*/commit/*", Status(500)),
    "another file": ("/api/models/*/revision/*", Says('"sha256": "', f'"sha256": "{WEIGHTS_OF_NOBODY}", "was": "')),
    "no Hub": ("/api/repos/create", Says("url", "uniform")),
}


@pytest.mark.full
@pytest.mark.parametrize("name", FAULTS)
def test_a_hub_that_does_not_take_a_brick(
    name: str, publisher: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    with Hub() as hub:
        hub.fault(*FAULTS[name])
        online = replace(publisher, variables=hub.environment(publisher.home / "hf", token=hub.token))
        outcome = online.spawn(*PUBLISH, *HUB)
    assert hub.token not in outcome.out + outcome.err
    assert said(outcome) == snapshot
    assert lines(publisher.root) == []
