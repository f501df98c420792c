"""Files of bricks that changed behind brickctl's back: found by every verb, never used, never deleted, and repaired."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.sources.static_server import StaticServer
from tests.support import stages
from tests.support.hub import Hub
from tests.support.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"

TABLES = {
    # exit codes; `-` where nothing promises what the file should be; an artifact that is up to date needs no bricks
    "hub": """
                            changed  truncated  emptied  late  removed
        install             4        4          4        4     0
        install --offline   4        4          4        4     6
        verify              4        4          4        4     1
        build --force       4        4          4        4     0
        merge               4        4          4        4     0
        add                 4        4          4        4     0
    """,
    "server": """
                            changed  truncated  emptied  late  removed
        install             4        4          4        4     0
        install --offline   4        4          4        4     6
        verify              4        4          4        4     1
        build --force       4        4          4        4     0
        add                 4        4          4        4     0
    """,
    "path": """
                            changed  truncated  emptied  late  removed
        install             4        4          4        4     1
        verify              4        4          4        4     1
        build               4        4          4        4     0
        build --force       4        4          4        4     1
        merge               -        4          4        -     1
        add                 -        4          4        -     1
    """,
    "folder": """
                            changed  truncated  emptied  late  removed
        install             4        4          4        4     1
        verify              4        4          4        4     1
        build --force       4        4          4        4     1
        add                 4        4          4        4     1
    """,
}
CACHED = {"hub", "server"}
"""Sources whose files lie in a cache, where a bad one is moved aside; the others are read where they lie."""

VERBS = {
    "merge": {
        "hub": ("merge", "hf:acme/base", "hf:acme/sql", "-o", "dist/other"),
        "path": ("merge", "./bricks/base", "./bricks/sql", "-o", "dist/other"),
    },
    "add": {
        "hub": ("add", "hf:acme/sql", "--name", "again"),
        "server": ("add", "acme/sql", "--registry", "corp", "--name", "again"),
        "path": ("add", "./bricks/sql", "--name", "again"),
        "folder": ("add", "acme/sql", "--registry", "corp", "--name", "again"),
    },
}


@dataclass(frozen=True, slots=True)
class Row:
    """A verb that meets a fault in one file of a brick, and the exit code it owes."""

    source: str
    verb: str
    file: str
    fault: str
    code: int

    @property
    def command(self) -> tuple[str, ...]:
        return VERBS.get(self.verb, {}).get(self.source, tuple(self.verb.split()))

    def __str__(self) -> str:
        return f"{self.source}: {self.verb}, {self.file} {self.fault}, {self.code}"


def rows(source: str, table: str, file: str) -> Iterator[Row]:
    head, *lines = table.strip().splitlines()
    for line in lines:
        verb, *codes = re.split(r"\s{2,}", line.strip())
        for fault, code in zip(head.split(), codes, strict=True):
            if code != "-":
                yield Row(source, verb, file, fault, int(code))


ROWS = [
    *(row for source, table in TABLES.items() for row in rows(source, table, WEIGHTS)),
    *(
        row
        for source in ("hub", "path")
        for row in rows(source, TABLES[source], CONFIG)
        if row.verb in {"install", "build --force"}
    ),
]


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        stages.take_no_pauses(patch)
        yield patch


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as running:
        stages.fill_hub(running)
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StaticServer]:
    with StaticServer(stages.fill_registry(tmp_path_factory.mktemp("registry"))) as running:
        yield running


@pytest.fixture(scope="module")
def sound(
    tmp_path_factory: pytest.TempPathFactory, hub: Hub, server: StaticServer, patch: pytest.MonkeyPatch
) -> Callable[[str], Stage]:
    """Gives the stage of a source, on which everything is installed and built."""
    made: dict[str, Stage] = {}

    def make(source: str) -> Stage:
        stage = Stage.new(tmp_path_factory.mktemp(source))
        text = stages.manifest('brick = "acme/base"\nregistry = "corp"', 'brick = "acme/sql", registry = "corp"', "%s")
        if source == "hub":
            stages.point_client_at(patch, hub, stage.sandbox.home)
            text = stages.HUB_MANIFEST
        elif source == "server":
            text %= f'[registries]\ncorp = "{server.url}"'
        elif source == "path":
            stage.sandbox.write(stages.BASE, "bricks/base")
            stage.sandbox.write(stages.SQL, "bricks/sql")
            text = stages.manifest('source = "path:bricks/base"', 'source = "path:bricks/sql"')
        else:
            stages.fill_registry(stage.sandbox.root / "registry")
            text %= '[registries]\ncorp = "./registry"'
        stage.sandbox.write({"brick.toml": text})
        stage.must("build")
        return stage

    return lambda source: made.get(source) or made.setdefault(source, make(source))


def place_of(stage: Stage, row: Row) -> Path:
    """Where the content of the file really lies."""
    if row.source == "hub":
        (link,) = stage.hub_cache.glob(f"models--acme--sql/snapshots/*/{row.file}")
        return link.resolve()
    if row.source == "server":
        return stage.sandbox.home / "cache/blobs/sha256" / stages.sha256_bytes(stages.SQL[row.file])
    folder = "bricks/sql" if row.source == "path" else "registry/files/acme/sql/1.0.0"
    return stage.sandbox.root / folder / row.file


def spoil(place: Path, fault: str) -> None:
    """Do to a file what the fault says; `late` keeps the time at which it was last changed, to a nanosecond."""
    before, content = place.stat(), place.read_bytes()
    if fault == "removed":
        place.unlink()
        return
    changed = content[:-1] + bytes([content[-1] ^ 1])
    place.write_bytes({"truncated": content[:-9], "emptied": b""}.get(fault, changed))
    if fault == "late":
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (place.stat().st_mtime_ns, place.stat().st_size) == (before.st_mtime_ns, before.st_size)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_file_that_is_not_what_was_promised(
    row: Row, sound: Callable[[str], Stage], tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = sound(row.source).copy(tmp_path / "stage")
    stages.point_client_at(monkeypatch, hub, stage.sandbox.home)
    stage.must("install")  # the ledger knows every file by now
    place = place_of(stage, row)
    good, project, caches = place.read_bytes(), stage.project(), stage.state("home/hf", "home/cache/blobs")
    spoil(place, row.fault)
    bad = place.read_bytes() if place.exists() else None

    outcome = stage.sandbox.run(*row.command)

    assert outcome.code == row.code, outcome.err
    assert "unexpected" not in outcome.err
    if row.code:
        assert row.file in outcome.err or (row.fault == "removed" and "sql" in outcome.err)
        assert stage.project() == project
        assert not (stage.sandbox.root / "dist/other").exists()
        check_kept(place, bad, moved=row.source in CACHED)
    if row.source not in CACHED:
        place.write_bytes(good)

    stage.must("install")
    assert place.read_bytes() == good
    corrupt = {name: digest for name, digest in stage.state("home").items() if ".corrupt-" in name}
    assert len(corrupt) == (row.code == 4 and row.source in CACHED)
    assert stage.state("home/hf", "home/cache/blobs") == {**caches, **corrupt}
    stage.must("verify")
    stage.must(*row.command) if row.code else None
    if row.verb != "add":
        assert {name: digest for name, digest in stage.project().items() if "/other/" not in name} == project


def check_kept(place: Path, bad: bytes | None, *, moved: bool) -> None:
    """The bad bytes are there still: beside their place where that is in a cache, else where they were."""
    aside = sorted(place.parent.glob("*.corrupt-*"))
    if bad is None:
        assert (place.exists(), aside) == (False, [])
    elif moved:
        assert not place.exists()
        assert [path.read_bytes() for path in aside] == [bad]
    else:
        assert (place.read_bytes(), aside) == (bad, [])


ARTIFACT_TABLE = """
                            changed  truncated  emptied  late  removed  extra  linked
    verify                  4        4          4        4     4        4      4
    verify dist/assistant   4        4          4        4     4        4      4
    build --check           7        7          7        7     7        7      4
    build                   0        0          0        0     0        -      4
"""


@pytest.mark.parametrize("row", list(rows("artifact", ARTIFACT_TABLE, "model.safetensors")), ids=str)
def test_an_artifact_that_is_not_what_was_built(  # built anew by `build`, and only told of by the others
    row: Row, sound: Callable[[str], Stage], tmp_path: Path
) -> None:
    stage = sound("path").copy(tmp_path / "stage")
    stage.must("build")
    stage.must("verify")
    project, place = stage.project(), stage.artifact / row.file
    if row.fault == "extra":
        (stage.artifact / "extra.json").write_bytes(b"{}")
    elif row.fault == "linked":
        place.rename(tmp_path / row.file)
        place.symlink_to(tmp_path / row.file)
    else:
        spoil(place, row.fault)
    spoiled = stage.project()

    outcome = stage.sandbox.run(*row.command)

    assert outcome.code == row.code, outcome.err
    if row.code:
        assert row.file in outcome.err or (row.fault == "extra" and "extra.json" in outcome.err)
        assert stage.project() == spoiled
    if row.fault in {"extra", "linked"}:  # what brickctl did not make is the user's to remove
        (stage.artifact / ("extra.json" if row.fault == "extra" else row.file)).unlink()
    stage.must("build")
    assert stage.project() == project
    stage.must("verify")
