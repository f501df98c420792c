"""Every way in which networks and servers fail, behind every verb that asks them: nothing is lost, and no debris."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants

from tests.support import stages
from tests.support.hub import (
    ChangingEtag,
    Cut,
    Deleted,
    Elsewhere,
    Endless,
    Gated,
    Hub,
    LyingLength,
    RangeIgnored,
    Renamed,
    Stall,
    Status,
    Tamper,
)
from tests.support.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hub import Fault

PARTS = {
    "listing": "/api/models/acme/sql*",
    "config": "/acme/sql/resolve/*/adapter_config.json",
    "weights": "/acme/sql/resolve/*/adapter_model.safetensors",  # to lock them is to read their header alone
}
END = 100
"""A byte that is in every file."""

FAULTS: dict[str, Callable[[Hub], Fault]] = {
    "cut": lambda _: Cut(10),
    "reset": lambda _: Cut(10, reset=True),
    "stall": lambda _: Stall(10),
    "429": lambda _: Status(429, retry_after=0),
    "500": lambda _: Status(500),
    "503": lambda _: Status(503),
    "once": lambda _: Status(503, times=1),
    "401": lambda _: Status(401),
    "403": lambda _: Status(403),
    "404": lambda _: Status(404),
    "gated": lambda _: Gated(),
    "gone": lambda _: Deleted("repository"),
    "moved": lambda _: Renamed("acme/renamed"),
    "etag": lambda _: ChangingEtag(),
    "whole": lambda _: RangeIgnored(),
    "long": lambda _: LyingLength(7),
    "short": lambda _: LyingLength(-7),
    "endless": lambda _: Endless(1 << 22),
    "bad": lambda _: Tamper(END),
    "other": lambda other: Elsewhere(other.endpoint),
}
"""Of each the Hub's answers about one part of a brick; `refused` and `unreachable` are of the whole network."""

VERBS = {
    "lock": ("lock",),
    "install": ("install",),
    "build": ("build",),
    "add": ("add", "hf:acme/sql", "--name", "again"),
    "update": ("update", "sql"),
    "merge": ("merge", "hf:acme/base", "hf:acme/sql", "-o", "dist/other"),
    "info": ("info", "hf:acme/sql"),
}
PINNED = {"install", "build"}
"""Verbs that begin with a lock that is right, and bricks that are not here."""


TABLE = """
                cut reset stall 429 500 503 once 401 403 404 gated gone moved etag whole long short endless bad other
lock listing      6     6     6   6   6   6    0   1   1   1     1    1     0    -     -    6     6       6   -     0
lock config       6     6     6   6   6   6    0   1   1   1     1    1     0    0     -    6     4       6   4     6
lock weights      6     6     6   6   6   6    0   1   1   1     1    1     0    0     0    6     6       4   4     0
install weights   6     6     6   6   6   6    0   1   1   1     1    1     0    0     0    6     6       6   4     6
build weights     6     6     6   6   6   6    0   1   1   1     1    1     0    0     0    6     6       4   4     6
add listing       6     6     6   6   6   6    0   1   1   1     1    1     0    -     -    6     6       6   -     0
add config        6     6     6   6   6   6    0   1   1   1     1    1     0    0     -    6     4       6   4     6
add weights       6     6     6   6   6   6    0   1   1   1     1    1     0    0     0    6     6       4   4     0
update listing    6     6     6   6   6   6    0   1   1   1     1    1     0    -     -    6     6       6   -     0
update weights    6     6     6   6   6   6    0   1   1   1     1    1     0    0     0    6     6       4   4     0
merge listing     6     6     6   6   6   6    0   1   1   1     1    1     0    -     -    6     6       6   -     0
merge config      6     6     6   6   6   6    0   1   1   1     1    1     0    0     -    6     4       6   4     6
merge weights     6     6     6   6   6   6    0   1   1   1     1    1     0    0     0    6     6       4   4     6
info listing      6     6     6   6   6   6    0   1   1   1     1    1     0    -     -    6     6       6   -     0
info config       6     6     6   6   6   6    0   1   1   1     1    1     0    0     -    6     4       6   4     6
info weights      6     6     6   6   6   6    0   1   1   1     1    1     0    0     0    6     6       4   4     0
"""
"""Exit codes; `-` where the fault cannot be seen in that part."""

PATIENCE = 0.3
"""Seconds without a byte; a user's default is 10."""

INTEGRITY = 4


@dataclass(frozen=True, slots=True)
class Row:
    """A verb that meets a fault in what it asks of a part of a brick, and the exit code it owes."""

    verb: str
    part: str
    fault: str
    code: int

    @property
    def command(self) -> tuple[str, ...]:
        return VERBS[self.verb]

    def __str__(self) -> str:
        return f"{self.verb}, {self.part}: {self.fault}, {self.code}"


def rows() -> Iterator[Row]:
    faults, *lines = (line.split() for line in TABLE.strip().splitlines())
    for verb, part, *codes in lines:
        for fault, code in zip(faults, codes, strict=True):
            if code != "-":
                yield Row(verb, part, fault, int(code))


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        stages.take_no_pauses(patch)
        patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", PATIENCE)
        patch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", PATIENCE)
        yield patch


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as running:
        stages.fill_hub(running)
        running.repository("acme/renamed", card={"license": "apache-2.0"}).commit(stages.SQL)
        yield running


@pytest.fixture(scope="module")
def stranger() -> Iterator[Hub]:
    """Another host with the same bricks, to which no token may go."""
    with Hub() as running:
        stages.fill_hub(running)
        yield running


@pytest.fixture(scope="module")
def begin(
    tmp_path_factory: pytest.TempPathFactory, hub: Hub, patch: pytest.MonkeyPatch
) -> Callable[[str], tuple[Stage, Stage]]:
    """Gives the stage on which a verb begins, where another model is built already, and the one on which it ends."""
    made: dict[str, tuple[Stage, Stage]] = {}

    def make(verb: str) -> tuple[Stage, Stage]:
        folder = tmp_path_factory.mktemp(verb)
        stage = Stage.new(folder / "begun", {"HF_TOKEN": hub.token})
        stages.point_client_at(patch, hub, stage.sandbox.home)
        stage.sandbox.write({"brick.toml": stages.HUB_MANIFEST.replace("sql", "mail")})
        stage.must("build")
        if verb in PINNED | {"lock", "update"}:
            stage.sandbox.write({"brick.toml": stages.HUB_MANIFEST})
        if verb in PINNED | {"update"}:
            stage.must("lock")
        ended = stage.copy(folder / "ended")
        stages.point_client_at(patch, hub, ended.sandbox.home)
        ended.must(*VERBS[verb])
        return stage, ended

    return lambda verb: made.get(verb) or made.setdefault(verb, make(verb))


def play(stage: Stage, row: Row) -> None:
    """Run the verb, whose fault is in force, and look at what a user has then."""
    before, kept = stage.project(), stage.state("home/hf", "home/cache/blobs")

    outcome = stage.sandbox.run(*row.command)

    assert outcome.code == row.code, outcome.err
    assert "unexpected" not in outcome.err
    assert "hf_owner" not in outcome.err, "a token is shown"
    if row.code:
        assert "hf:acme/" in outcome.err
        assert "hint: " in outcome.err
        assert stage.project() == before
        assert not (stage.sandbox.root / "dist/other").exists()
    after = stage.state("home/hf", "home/cache/blobs")
    assert {name: after[name] for name in kept} == kept, "what was in the caches is there still"


def check_end(stage: Stage, row: Row, ended: Stage) -> None:
    """With the fault gone, the same command makes what it always makes, and nothing is left over."""
    if row.code:
        stage.must(*row.command)
    assert stage.project() == ended.project()
    corrupt = list(stage.hub_cache.rglob("*.corrupt-*"))
    assert len(corrupt) <= (row.code == INTEGRITY)
    for path in corrupt:
        path.unlink()
    assert cached(stage) == cached(ended)


def cached(stage: Stage) -> tuple[dict[str, str], list[str]]:
    """What tools find in the caches, by name; and every content that lies there, whose name is the server's affair."""
    places = [path for part in ("hf", "cache/blobs") for path in (stage.sandbox.home / part).rglob("*")]
    links = {path.relative_to(stage.folder).as_posix(): _sha256(path) for path in places if path.is_symlink()}
    return links, sorted(_sha256(path) for path in places if path.is_file() and not path.is_symlink())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("row", list(rows()), ids=str)
def test_a_fault_of_a_server(
    row: Row,
    begin: Callable[[str], tuple[Stage, Stage]],
    hub: Hub,
    stranger: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, ended = begin(row.verb)
    stage = begun.copy(tmp_path / "stage")
    stages.point_client_at(monkeypatch, hub, stage.sandbox.home)
    stranger.reset_log()
    hub.reset_log()
    hub.fault(PARTS[row.part], FAULTS[row.fault](stranger))
    try:
        play(stage, row)
    finally:
        hub.clear_faults()
    assert any(fnmatchcase(record.path, PARTS[row.part]) for record in hub.requests), "the fault was never met"
    assert all(record.authorization is None for record in stranger.requests), "a token went to another host"
    check_end(stage, row, ended)


@pytest.mark.parametrize("verb", VERBS)
def test_nobody_at_the_address(
    verb: str,
    begin: Callable[[str], tuple[Stage, Stage]],
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, ended = begin(verb)
    stage = begun.copy(tmp_path / "stage")
    row = Row(verb, "everything", "refused", 6)
    with monkeypatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.close()
        stages.point_client_at(patch, SimpleNamespace(endpoint=f"http://127.0.0.1:{port}"), stage.sandbox.home)
        play(stage, row)
    stages.point_client_at(monkeypatch, hub, stage.sandbox.home)
    check_end(stage, row, ended)
