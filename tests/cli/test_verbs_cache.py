"""`brickctl cache`: each command in a process of its own, as the Hub's client reads its settings once."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks
from tests.support.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sandbox import Sandbox

PROJECT = """\
[project]
name = "support"

[base]
source = "hf:acme/base"

[bricks]
sql = { source = "hf:acme/sql" }

[targets.assistant]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }]
"""
BASE = "models--acme--base"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.repository("acme/base").commit(bricks.model())
        running.repository("acme/sql").commit(bricks.adapter())
        yield running


@pytest.fixture
def online(hub: Hub, empty: Sandbox) -> Sandbox:
    """A project whose bricks came from the Hub."""
    empty.write({"brick.toml": PROJECT})
    sandbox = replace(empty, variables=hub.environment(empty.home / "hf"))
    assert sandbox.spawn("install").code == 0
    return sandbox


def cache(sandbox: Sandbox) -> Path:
    """The Hub's cache."""
    return sandbox.home / "hf" / "hub"


def blob(sandbox: Sandbox, name: str = "model.safetensors") -> Path:
    """The content of a file of the base."""
    link = next((cache(sandbox) / BASE / "snapshots").glob(f"*/{name}"))
    return Path(os.path.realpath(link))


def put(path: Path, content: bytes, *, age: float = 3600) -> Path:
    """A file that was last written some seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def flip(path: Path) -> None:
    """Change one byte as a bad disk would: size and time of the last write stay."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def test_dir_says_where_the_caches_lie(online: Sandbox) -> None:
    found = {each["name"]: each for each in online.spawn("cache", "dir", "--json").json["caches"]}
    assert {name: each["path"] for name, each in found.items()} == {
        "hub": str(cache(online)),
        "brickctl": str(online.home / "cache"),
        "project": str(online.root / ".brickctl"),
    }
    assert [each["exists"] for each in found.values()] == [True, True, False]
    assert online.spawn("cache", "dir", "brickctl").out == f"{online.home / 'cache'}\n"


def test_dir_works_without_a_project_but_for_the_cache_of_one(empty: Sandbox) -> None:
    assert [each["name"] for each in empty.spawn("cache", "dir", "--json").json["caches"]] == ["hub", "brickctl"]
    outcome = empty.spawn("cache", "dir", "project", "--json")
    assert (outcome.code, outcome.json["error"]["code"]) == (1, "not-found")


def test_size_counts_what_lies_there_by_repository(online: Sandbox) -> None:
    put(cache(online) / "datasets--acme--cases/blobs/aa", b"12345")
    found = {each["name"]: each for each in online.spawn("cache", "size", "--json").json["caches"]}
    parts = {part["name"]: part for part in found["hub"]["parts"]}
    held = bricks.model().values()
    blobs = list((cache(online) / BASE / "blobs").iterdir())
    assert {"acme/base", "acme/sql", "datasets/acme/cases"} <= set(parts)
    assert parts["datasets/acme/cases"] == {"name": "datasets/acme/cases", "bytes": 5, "files": 1}
    assert parts["acme/base"]["bricks"] == ["base"]
    assert (
        sum(map(len, held))
        <= parts["acme/base"]["bytes"]
        == sum(path.lstat().st_size for path in files_below(cache(online) / BASE) if not path.is_symlink())
    )
    assert parts["acme/base"]["files"] >= len(blobs)
    assert found["hub"]["bytes"] == sum(part["bytes"] for part in parts.values())
    lines = list((online.home / "cache" / "ledger").iterdir())
    assert found["brickctl"]["parts"][0] == {
        "name": "ledger",
        "bytes": sum(line.stat().st_size for line in lines),
        "files": len(lines),
    }
    assert "acme/base" in online.spawn("cache", "size").out


def test_size_counts_a_file_with_two_names_once(empty: Sandbox) -> None:
    first = put(cache(empty) / "models--acme--other/blobs/aa", b"12345")
    first.with_name("bb").hardlink_to(first)
    found = empty.spawn("cache", "size", "--json").json
    assert (found["bytes"], found["caches"][0]["files"]) == (5, 1)


def test_verify_reads_what_has_a_promise(online: Sandbox) -> None:
    put(cache(online) / "models--acme--other/blobs" / ("ab" * 20), b"nobody knows what this should be")
    found = online.spawn("cache", "verify", "--json").json
    held = [*bricks.model().values(), *bricks.adapter().values()]
    assert (found["files"], found["bytes"]) == (len(held), sum(map(len, held)))
    assert found["unknown"] >= 1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_verify_moves_a_rotten_file_aside_and_install_brings_it_anew(name: str, online: Sandbox) -> None:
    """Weights are named by their digest; of a small file the lock alone knows it."""
    rotten = blob(online, name)
    sound = rotten.read_bytes()
    flip(rotten)
    outcome = online.spawn("cache", "verify", "--json")
    assert outcome.code == 4
    error = outcome.json["error"]
    assert error["code"] == "integrity"
    assert str(rotten) in error["cause"][0]
    assert "brickctl install" in error["hint"]
    assert not rotten.exists()
    assert rotten.with_name(f"{rotten.name}.corrupt-1").stat().st_size == len(sound)
    assert not any(path.is_symlink() and not path.exists() for path in files_below(cache(online)))
    assert online.spawn("install").code == 0
    assert blob(online, name).read_bytes() == sound
    assert online.spawn("cache", "verify").code == 0


def test_verify_believes_no_ledger_and_asks_it_where_nobody_else_knows(online: Sandbox, tmp_path: Path) -> None:
    """A byte that rots on the disk changes no time stamp; a test can only make the ledger expect the stamps."""
    rotten = blob(online, "config.json")
    flip(rotten)
    for line in (online.home / "cache" / "ledger").iterdir():
        if str(rotten) in line.read_text():
            old = rotten.stat()
            text = line.read_text()
            before = text.partition('"ctime": ')[2].partition(",")[0]
            line.write_text(text.replace(before, str(old.st_ctime_ns), 1))
    outside = replace(online, root=tmp_path)
    outcome = outside.spawn("cache", "verify", "--json")
    assert outcome.code == 4
    assert str(rotten) in outcome.json["error"]["cause"][0]


def test_verify_names_every_rotten_file_of_registries_too(empty: Sandbox) -> None:
    blobs = empty.home / "cache" / "blobs" / "sha256"
    put(blobs / sha256(b"sound").hexdigest(), b"sound")
    rotten = [put(blobs / (digit * 64), b"rotten") for digit in "ab"]
    outcome = empty.spawn("cache", "verify", "--json")
    assert outcome.code == 4
    assert len(outcome.json["error"]["cause"]) == 2
    assert sorted(path.name for path in blobs.glob("*.corrupt-1")) == [f"{path.name}.corrupt-1" for path in rotten]
    assert empty.spawn("cache", "verify", "--json").json["files"] == 1


def test_a_damaged_lock_stops_no_look_at_the_caches(online: Sandbox) -> None:
    online.write({"brick.lock": "nonsense ="})
    outcome = online.spawn("cache", "verify", "--json")
    assert outcome.code == 0
    assert outcome.json["files"] > 0
    assert "warning: what this project says" in outcome.err


def leftovers(sandbox: Sandbox) -> dict[str, Path]:
    """One of each kind that can go."""
    own = sandbox.home / "cache"
    skills = put(sandbox.root / ".brickctl/skills/tmpabcd/sql/model.safetensors", b"made", age=7200)
    os.utime(skills.parents[1], (time.time() - 7200,) * 2)
    return {
        "download": put(own / "blobs/sha256/.new-abc", b"half"),
        "incoming": put(own / "blobs/sha256" / f"{'a' * 64}.incoming", b"bad"),
        "line": put(own / "ledger/.new-abc", b"{"),
        "page": put(own / "registries/.new-abc", b"{"),
        "hub": put(cache(sandbox) / BASE / "blobs/aaaa.0123abcd.incomplete", b"half of it"),
        "skills": skills,
        "partial": put(sandbox.root / ".brickctl/journal/x.partial", b"x"),
    }


def test_prune_removes_leftovers_and_nothing_else(online: Sandbox) -> None:
    before = files_below(online.home) | files_below(online.root)
    made = leftovers(online)
    stale = put(online.home / "cache/ledger" / f"{'0' * 64}.json", b'{"path": "/nowhere"}')
    foreign = put(cache(online) / "models--acme--others/blobs/aaaa.incomplete", b"of another tool")
    strange = put(online.home / "cache/notes/.new-thoughts", b"not ours")
    said = online.spawn("cache", "prune", "--dry-run", "--json").json
    assert {each["path"] for each in said["removed"]} >= {str(made["hub"]), str(made["download"]), str(stale)}
    assert all(path.exists() for path in (*made.values(), stale)), "a dry run removes nothing"
    done = online.spawn("cache", "prune", "--json").json
    assert done["removed"] == said["removed"]
    assert (
        done["bytes"]
        == said["bytes"]
        == sum(map(len, (b"half", b"bad", b"{", b"{", b"half of it", b"made", b"x"))) + 20
    )
    assert (files_below(online.home) | files_below(online.root)) == before | {foreign, strange}
    assert online.spawn("cache", "prune").out == "nothing to remove\n"
    assert online.spawn("install", "--offline").out.startswith("everything is here")


def test_prune_forgets_files_that_are_gone_and_keeps_what_is_true(online: Sandbox) -> None:
    ledger = online.home / "cache" / "ledger"
    before = set(ledger.iterdir())
    gone = blob(online, "tokenizer.json")
    gone.unlink()
    assert online.spawn("cache", "prune").code == 0
    forgotten = before - set(ledger.iterdir())
    assert len(forgotten) == 1


def test_prune_keeps_what_somebody_is_writing(online: Sandbox) -> None:
    blobs = cache(online) / BASE / "blobs"
    opened = put(blobs / "aaaa.0123abcd.incomplete", b"half")
    fresh = put(blobs / "bbbb.0123abcd.incomplete", b"half", age=5)
    locked = put(blobs / "cccc.0123abcd.incomplete", b"half")
    lock = put(cache(online) / ".locks" / BASE / "cccc.lock", b"")
    with opened.open("ab"), lock.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        outcome = online.spawn("cache", "prune", "--json").json
    assert set(outcome["busy"]) == {str(opened), str(fresh), str(locked)}
    assert all(path.exists() for path in (opened, fresh, locked))
    assert set(online.spawn("cache", "prune", "--json").json["busy"]) == {str(fresh)}
    assert (opened.exists(), fresh.exists(), locked.exists()) == (False, True, False)


def test_prune_removes_quarantined_files_only_when_asked(online: Sandbox) -> None:
    rotten = blob(online)
    flip(rotten)
    assert online.spawn("cache", "verify").code == 4
    aside = rotten.with_name(f"{rotten.name}.corrupt-1")
    assert online.spawn("cache", "prune").code == 0
    assert aside.exists()
    assert str(aside) in online.spawn("cache", "prune", "--quarantined").out
    assert not aside.exists()


def test_prune_goes_through_no_link_of_a_project(online: Sandbox, tmp_path: Path) -> None:
    mine = put(tmp_path / "mine" / "x.partial", b"mine")
    (online.root / ".brickctl").symlink_to(mine.parent)
    outcome = online.spawn("cache", "prune", "--json")
    assert (outcome.code, outcome.json["error"]["code"]) == (2, "usage")
    assert mine.exists()


def test_the_group_alone_shows_its_help(empty: Sandbox) -> None:
    outcome = empty.run("cache")
    assert outcome.code == 0
    assert all(verb in outcome.out for verb in ("dir", "size", "verify", "prune"))
    assert empty.run("cache", "sizee").code == 2
