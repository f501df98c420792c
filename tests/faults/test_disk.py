"""Faults of the machine: full disks, disks that may only be read, that lack something or fail, and wrong clocks.

A row is a verb in a situation (see situations.py), a fault, and an exit code. What was there is whole afterwards, what
failed says where and what to do, and the same command, once the fault is gone, leads to what it always leads to.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import file_download

from brickctl.sources import atomic
from brickctl.sources.atomic import PREFIX, unfinished
from brickctl.sources.hub import unlocked
from brickctl.sources.leftovers import InUse
from tests.support import stages
from tests.support.clocks import CLOCKS, YEARS, set_clock
from tests.support.filesystems import FAILS, LACKS, without_exchange
from tests.support.namespaces import ENTER, Mounts
from tests.support.situations import Situations, debris, everything, results, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.sandbox import Outcome
    from tests.support.stages import Stage

pytestmark = pytest.mark.full

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only there has a process mounts of its own")

PLACES = {
    "project": "project",
    "dist": "project/dist",
    "saved": "project/saved",
    "new": "project/new",
    "cache": "home/cache",
    "hf": "home/hf",
}
VERBS = {
    "add": {
        "hub": "add hf:acme/mail --name again",
        "server": "add acme/mail --registry corp --name again",
        "path": "add ./bricks/wordy --name again",
    },
    "merge": {
        "hub": "merge hf:acme/base hf:acme/sql -o dist/other",
        "path": "merge ./bricks/base ./bricks/sql -o dist/other --shard-size 1kB",
    },
    "merge --save": {"path": "merge ./bricks/base ./bricks/sql -o dist/other --save saved"},
    "init": {"path": "init new --template starter"},
}

FULL = {
    # so many pages of 4 KiB are free, or so many names: the first failures are early, the last ones late
    "path": """
                                        0p  1p  2p  5p  9p  24p  0n  1n  9n  14n
        lock          fresh    project  1   0   -   -   -   -    1   0   -   -
        build         locked   project  1   1   -   1   0   -    1   1   1   0
        build         rebuilt  dist     1   -   1   1   0   -    1   -   1   0
        build         rebuilt  cache    0   -   -   -   -   -    0   -   -   -
        build --force  built   dist     1   -   -   1   0   -    -   -   -   -
        add           built    project  1   1   1   0   -   -    1   1   0   -
        merge         locked   dist     1   -   -   1   0   -    -   -   -   -
        merge --save  locked   saved    1   1   0   -   -   -    1   1   -   -
        init          built    new      1   1   -   -   -   0    -   1   -   -
    """,
    "hub": """
                                        0p  1p  2p  9p  0n
        lock          fresh    hf       1   1   1   0   1
        lock          fresh    cache    0   -   -   -   -
        install       locked   hf       1   1   -   0   1
        install       locked   cache    0   -   -   -   -
        build         locked   hf       1   1   -   0   -
        build         locked   dist     1   -   1   -   -
        add           built    hf       1   -   -   0   1
        merge         locked   hf       1   1   -   0   -
    """,
    "server": """
                                        0p  1p  2p  9p  0n  1n
        lock          fresh    cache    1   -   1   0   1   -
        install       locked   cache    1   1   1   0   1   1
        build         locked   cache    -   -   1   -   -   -
        add           built    cache    1   -   -   0   1   -
    """,
}

READ_ONLY = {
    # `all` is all of these folders at once
    "path": """
                                         all  project  dist  cache
        list                   built     0    -        -     -
        tree                   built     0    -        -     -
        verify                 built     0    -        -     -
        verify dist/assistant  built     0    -        -     -
        lock                   built     0    -        -     -
        lock --check           built     0    -        -     -
        install                built     0    -        -     -
        build                  built     0    -        0     -
        cache size             built     0    -        -     -
        cache verify           built     0    -        -     -
        build --check          built     -    1        1     0
        lock                   fresh     -    1        0     0
        install                fresh     -    1        -     0
        build                  locked    -    1        1     0
        build                  rebuilt   -    1        1     0
        build --force          built     -    1        1     0
        add                    built     -    1        0     0
        merge                  locked    -    1        1     0
        init                   built     -    1        -     -
    """,
    "hub": """
                                         all  project  dist  cache  hf
        verify                 built     0    -        -     -      -
        lock                   built     0    -        -     -      -
        install                built     0    -        -     -      -
        build                  built     0    -        -     -      -
        build --force          built     1    -        -     -      0
        lock                   fresh     1    1        -     0      1
        install                locked    1    0        -     0      1
        build                  locked    1    1        1     0      1
        add                    built     1    1        -     0      1
        merge                  locked    1    1        1     0      1
    """,
    "server": """
                                         all  project  dist  cache
        verify                 built     0    -        -     -
        lock                   built     0    -        -     -
        install                built     0    -        -     -
        build                  built     0    -        -     -
        build --force          built     1    -        -     0
        lock                   fresh     1    1        -     1
        install                locked    1    0        -     1
        build                  locked    1    1        1     1
        add                    built     1    1        -     1
    """,
}

WRITING = ("lock fresh", "install locked", "build locked", "build rebuilt", "build --force built", "add built")
READING = ("verify built", "cache verify built")
NOTICING = ("install built", "verify built", "build --force built")
"""Verbs, each with its situation as the last word."""


@dataclass(frozen=True, slots=True)
class Row:
    """A verb in a situation meets a fault, and owes an exit code."""

    source: str
    verb: str
    situation: str
    fault: str
    code: int = 0

    @classmethod
    def of(cls, source: str, what: str, fault: str, code: int = 0) -> Row:
        """`what` is a verb and, as its last word, a situation."""
        verb, _, situation = what.rpartition(" ")
        return cls(source, verb, situation, fault, code)

    @property
    def command(self) -> list[str]:
        return [*VERBS.get(self.verb, {}).get(self.source, self.verb).split(), "--json"]

    def __str__(self) -> str:
        return f"{self.source}: {self.verb} ({self.situation}), {self.fault}, {self.code}"


def rows(tables: dict[str, str]) -> Iterator[Row]:
    """The rows of tables by source; columns are a verb, a situation, perhaps a place, and codes. `-` is no row."""
    for source, table in tables.items():
        head, *lines = table.strip().splitlines()
        faults = head.split()
        for line in lines:
            cells = re.split(r"\s{2,}", line.strip())
            verb, situation, *place = cells[: -len(faults)]
            for fault, code in zip(faults, cells[-len(faults) :], strict=True):
                if code != "-":
                    yield Row(source, verb, situation, " ".join([*place, fault]), int(code))


@pytest.fixture(scope="module")
def situations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situations]:
    within = ENTER if sys.platform == "linux" else ()
    with Situations(tmp_path_factory.mktemp("situations"), within=within) as made:
        yield made


@pytest.fixture(scope="module")
def without_fault(situations: Situations) -> Callable[[Row], dict[str, str]]:
    """Gives what a verb leads to where nothing is in its way."""
    found: dict[tuple[str, ...], dict[str, str]] = {}

    def lead(row: Row) -> dict[str, str]:
        key = (row.source, row.verb, row.situation)
        if key not in found:
            stage = situations.bring(row.source, row.situation)
            outcome = situations.nursery.run(*row.command)
            assert outcome.code == 0, outcome.out
            found[key] = results(stage)
        return found[key]

    return lead


def check_failure(outcome: Outcome, code: str, *places: str) -> None:
    """It says in its one object of JSON what is wrong, in which of the places, and what to do; nothing is Python's."""
    error = outcome.json["error"]
    said = " ".join([error["message"], *error["cause"], error["hint"]])
    assert error["code"] == code, said
    assert any(place in said for place in places), said
    assert "unexpected" not in said
    assert PREFIX not in said, "a name that nobody has seen"
    assert "Warning" not in outcome.err
    assert "Traceback" not in outcome.err


def check_whole(stage: Stage, before: dict[str, str]) -> None:
    """Everything is as it was; caches may have more, and a build that goes on later what it has finished."""
    after = everything(stage)
    assert {path: after.get(path) for path in before} == before
    more = [path for path in after if path not in before and path.startswith("project/") and ".brickctl/" not in path]
    if "project/dist/other/brick.build.json" in after:  # built, and then --save found no room
        more = [path for path in more if not path.startswith("project/dist/other/")]
    assert more == []
    assert [path for path in debris(stage) if not re.search(r"\.brickctl/(new|journal)/[^/]+$", path)] == []
    assert [path for path in debris(stage) if path.endswith(".partial")] == []


@on_linux
@pytest.mark.parametrize("row", list(rows(FULL)), ids=str)
def test_a_full_disk(row: Row, situations: Situations, without_fault: Callable[[Row], dict[str, str]]) -> None:
    wanted = without_fault(row)
    place, room = row.fault.split()
    folder = situations.bring(row.source, row.situation).folder / PLACES[place]
    mounts = Mounts(situations.nursery.pid)
    with mounts.small_disk(folder) as disk:
        stage = replace(situations.stage, folder=mounts.seen(situations.stage.folder))
        before = everything(stage)
        settle()
        (disk.leave_pages if room.endswith("p") else disk.leave_names)(int(room[:-1]))

        outcome = situations.nursery.run(*row.command)

        assert outcome.code == row.code, outcome.out
        if row.code:
            check_failure(outcome, "no-space", str(folder))
            check_whole(stage, before)
            disk.make_room()
            again = situations.nursery.run(*row.command)
            assert again.code == 0, again.out
        assert results(stage) == wanted
        assert debris(stage) == []


@on_linux
@pytest.mark.parametrize("row", list(rows(READ_ONLY)), ids=str)
def test_a_folder_that_may_only_be_read(
    row: Row, situations: Situations, without_fault: Callable[[Row], dict[str, str]]
) -> None:
    wanted = None if row.code else without_fault(row)
    stage = situations.bring(row.source, row.situation)
    before, mounts = everything(stage), Mounts(situations.nursery.pid)
    settle()
    closed = ("project", "cache", "hf") if row.fault == "all" else (row.fault,)

    with ExitStack() as stack:
        for place in closed:
            stack.enter_context(mounts.read_only(stage.folder / PLACES[place]))
        outcome = situations.nursery.run(*row.command)

    assert outcome.code == row.code, outcome.out
    if row.code:
        check_failure(outcome, "failed", *(str(stage.folder / PLACES[place]) for place in closed))
        check_whole(stage, before)
    else:
        assert results(stage) == wanted
    assert debris(stage) == []


@on_linux
def test_a_lock_that_is_mounted_on_its_own_as_containers_do(
    situations: Situations, without_fault: Callable[[Row], dict[str, str]]
) -> None:
    row = Row.of("path", "add built", "mounted")
    wanted = without_fault(row)
    stage = situations.bring(row.source, row.situation)
    before = everything(stage)

    with Mounts(situations.nursery.pid).on_its_own(stage.sandbox.root / "brick.lock"):
        outcome = situations.nursery.run(*row.command)

    assert outcome.code == 1
    check_failure(outcome, "failed", "brick.lock")
    check_whole(stage, before)  # brick.toml had its new text already
    assert situations.nursery.run(*row.command).code == 0
    assert results(stage) == wanted


@on_linux
@pytest.mark.parametrize("place", ["project", "dist"])
def test_what_a_killed_build_left_is_no_reason_to_fail_where_nothing_may_be_written(
    place: str, situations: Situations
) -> None:
    stage = situations.bring("path", "built")
    stage.sandbox.write({"model.safetensors.partial": b"half"}, "dist/.assistant.brickctl/new")
    before = everything(stage)

    with Mounts(situations.nursery.pid).read_only(stage.folder / PLACES[place]):
        assert situations.nursery.run("build").code == 0

    assert everything(stage) == before
    assert situations.nursery.run("build").code == 0
    assert debris(stage) == []


NOWHERE = Path("/dev/full")


@pytest.mark.skipif(not NOWHERE.exists(), reason="a file that is always full")
@pytest.mark.parametrize(
    ("arguments", "full", "code", "other"),
    [
        ("list", "stdout", 1, "the answer cannot be written"),
        ("list --json", "stdout", 1, "the answer cannot be written"),
        ("nonsense --json", "stdout", 2, "has no command `nonsense`"),
        ("list", "stderr", 0, "base"),
        ("list --json", "stderr", 0, '"ok": true'),
        ("nonsense --json", "stderr", 2, '"code": "usage"'),
    ],
)
def test_what_is_said_goes_to_a_full_disk(
    arguments: str, full: str, code: int, other: str, situations: Situations
) -> None:
    """Said again on the other stream where that helps; words that cannot be said stop nothing."""
    stage = situations.bring("path", "fresh")
    with NOWHERE.open("wb") as nowhere:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, full: nowhere}
        done = subprocess.run(
            [sys.executable, "-m", "brickctl", *arguments.split()],
            cwd=stage.sandbox.root,
            env=stage.sandbox.environment(),
            check=False,
            text=True,
            **streams,
        )
    said = done.stdout if full == "stderr" else done.stderr
    assert done.returncode == code
    assert other in said
    assert "Traceback" not in said
    assert "Exception ignored" not in said


@pytest.fixture
def play(situations: Situations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Row], Stage]:
    """Gives the stage for a row that is played in this process."""

    def bring(row: Row) -> Stage:
        stage = situations.copy(row.source, row.situation, tmp_path / "stage")
        stages.point_client_at(monkeypatch, situations.hub, stage.sandbox.home)
        monkeypatch.setattr(file_download, "WeakFileLock", file_download.WeakFileLock)  # as it is, after the test
        return stage

    return bring


@pytest.mark.parametrize("what", [*WRITING, "merge locked", "build built"])
@pytest.mark.parametrize("lack", LACKS)
def test_a_disk_that_lacks_something(
    lack: str,
    what: str,
    play: Callable[[Row], Stage],
    without_fault: Callable[[Row], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = Row.of("hub", what, lack)
    wanted, stage = without_fault(row), play(row)
    with monkeypatch.context() as patch:
        LACKS[lack](patch)
        outcome = stage.sandbox.run(*row.command)
    assert outcome.code == 0, outcome.out
    assert results(stage) == wanted
    assert debris(stage) == []


def test_a_disk_without_locks_shows_nobody_so_that_what_others_download_stays(
    play: Callable[[Row], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row.of("hub", "install locked", "no locks")
    stage = play(row)
    shutil.rmtree(stage.hub_cache / ".locks")
    others = stage.hub_cache / f"models--acme--base/blobs/{'0' * 40}.12345678.incomplete"
    others.write_bytes(b"half")
    with monkeypatch.context() as patch:
        LACKS["no locks"](patch)
        patch.setattr(file_download, "WeakFileLock", unlocked._turn)  # as of its second download
        assert stage.sandbox.run(*row.command).code == 0
    assert others.read_bytes() == b"half"


@pytest.mark.parametrize("lack", ["no locks", "no kind of locks"])
def test_a_disk_without_locks_is_told_of_and_what_a_killed_build_left_there_stays(
    lack: str, play: Callable[[Row], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = play(Row.of("hub", "build built", lack))
    left = stage.sandbox.write({"model.safetensors.partial": b"half"}, "dist/.assistant.brickctl/new")
    with monkeypatch.context() as patch:
        LACKS[lack](patch)
        assert stage.sandbox.run("build").code == 0
        assert list(left.iterdir()) != []
        assert [path.name for path in left.parents[1].glob(".*.lock")] == []
        assert "make sure that no other brickctl is building" in stage.sandbox.run("build", "--force").err
    assert debris(stage) == []


@pytest.mark.parametrize("what", ["lock fresh", "build locked", "build rebuilt", "add built", "merge locked"])
@pytest.mark.parametrize("fault", FAILS)
def test_a_disk_that_fails_in_the_middle(
    fault: str,
    what: str,
    play: Callable[[Row], Stage],
    without_fault: Callable[[Row], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = Row.of("path", what, fault, 1)
    wanted, stage = without_fault(row), play(row)
    before, (fail, code) = everything(stage), FAILS[fault]
    with monkeypatch.context() as patch:
        fail(patch)
        outcome = stage.sandbox.run(*row.command)
    assert outcome.code == 1, outcome.out
    check_failure(outcome, code, str(stage.sandbox.root))
    check_whole(stage, before)
    stage.must(*row.command)
    assert results(stage) == wanted
    assert debris(stage) == []


def test_an_artifact_stays_where_the_new_one_cannot_take_its_place(
    play: Callable[[Row], Stage], without_fault: Callable[[Row], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row.of("path", "build rebuilt", "no exchange, and a full disk between its two steps", 1)
    wanted, stage = without_fault(row), play(row)
    before, rename = everything(stage), os.rename

    def refuse(source: str, target: str, **options: int) -> None:
        if Path(source).name == "new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, target)
        rename(source, target, **options)

    with monkeypatch.context() as patch:
        without_exchange(patch)
        patch.setattr(os, "rename", refuse)
        outcome = stage.sandbox.run(*row.command)
    assert outcome.code == 1
    check_failure(outcome, "no-space", "dist/assistant")
    check_whole(stage, {path: digest for path, digest in before.items() if ".brickctl/" not in path})
    stage.must(*row.command)
    assert results(stage) == wanted


@pytest.mark.parametrize("what", [*WRITING, *READING, "cache prune built"])
@pytest.mark.parametrize("clock", CLOCKS)
def test_a_clock_that_is_wrong(
    clock: str,
    what: str,
    play: Callable[[Row], Stage],
    without_fault: Callable[[Row], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = Row.of("hub", what, clock)
    wanted, stage = without_fault(row), play(row)
    with monkeypatch.context() as patch:
        set_clock(patch, CLOCKS[clock])
        stage.must(*row.command)
        assert results(stage) == wanted
        for verb in ("install", "build", "verify"):
            stage.must(verb)
    assert debris(stage) == []


def file_of(stage: Stage, source: str) -> Path:
    """Where the weights of a brick lie."""
    if source == "path":
        return stage.sandbox.root / "bricks/sql/adapter_model.safetensors"
    (link,) = stage.hub_cache.glob("models--acme--sql/snapshots/*/adapter_model.safetensors")
    return link.resolve()


@pytest.mark.parametrize("what", NOTICING)
@pytest.mark.parametrize("source", ["hub", "path"])
@pytest.mark.parametrize("clock", [*CLOCKS, "stamps-ahead"])
def test_a_change_is_noticed_whatever_the_clock_says(
    clock: str, source: str, what: str, play: Callable[[Row], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bytes, under the size and the time that the ledger knows."""
    row = Row.of(source, what, clock, 4)
    stage = play(row)
    place, project = file_of(stage, source), stage.project()
    if clock == "stamps-ahead":
        for path in stage.folder.rglob("*"):
            os.utime(path, (time.time() + YEARS,) * 2, follow_symlinks=False)
    with monkeypatch.context() as patch:
        set_clock(patch, CLOCKS.get(clock, (0,)))
        stage.must("install")
        stage.must("build")
        before, content = place.stat(), place.read_bytes()
        place.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
        outcome = stage.sandbox.run(*row.command)
    assert outcome.code == 4, outcome.out
    assert "adapter_model.safetensors" in outcome.out
    assert stage.project() == project


@contextmanager
def at_work(stage: Stage, kind: str) -> Iterator[Path]:
    """Somebody writes a file, in a container of his own: his process is not seen, his lock is."""
    if kind == "brickctl":
        with unfinished(stage.sandbox.home / "cache/ledger" / f"{'0' * 64}.json") as new:
            yield new.path
        return
    repository = "models--acme--base"
    path = stage.hub_cache / repository / "blobs" / f"{'0' * 40}.12345678.incomplete"
    path.write_bytes(b"half")
    lock = stage.hub_cache / ".locks" / repository / f"{'0' * 40}.lock"
    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield path


@pytest.mark.parametrize("what", ["cache prune built", "build rebuilt", "install locked"])
@pytest.mark.parametrize("kind", ["brickctl", "client"])
@pytest.mark.parametrize("clock", [*CLOCKS, "old-stamps"])
def test_what_somebody_is_writing_is_no_leftover_whatever_the_clock_says(
    clock: str, kind: str, what: str, play: Callable[[Row], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row.of("hub", what, clock)
    stage = play(row)
    monkeypatch.setattr(InUse, "now", lambda: InUse(frozenset()))
    with at_work(stage, kind) as path, monkeypatch.context() as patch:
        patch.setattr(atomic, "_tidied", {})
        if clock == "old-stamps":
            os.utime(path, (0, 0))
        set_clock(patch, CLOCKS.get(clock, (0,)))
        stage.must(*row.command)
        assert path.exists()
    path.write_bytes(b"half")
    os.utime(path, (0, 0))
    stage.must("cache", "prune")
    assert not path.exists()
