from __future__ import annotations

import fcntl
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from brickctl.core.reference import RegistryReference
from brickctl.errors import IntegrityFault
from brickctl.sources.open import open_sources
from brickctl.sources.turns import Turns
from tests.sources.bricks import Amounts, model
from tests.sources.registries import SQL, entry, install, opened, publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sources.static_server import StaticServer


def test_an_empty_file_is_not_asked_for(registry: Path, server: StaticServer, tmp_path: Path, amounts: Amounts) -> None:
    files = {**model(), "merges.txt": b""}
    publish(registry, entry("1.5.0", files), files=files)
    server.override["/files/acme/sql/1.5.0/merges.txt"] = (416, {"Content-Range": "bytes */0"}, b"")
    bricks = opened(tmp_path, server.url)
    pin = bricks.pin(SQL)
    assert install(bricks, pin, amounts)["merges.txt"].read_bytes() == b""
    assert amounts.finished.count("index:acme/sql/1.5.0/merges.txt") == 1
    assert bricks.locate(pin) is not None
    assert not [path for path, _, _ in server.requests if path.endswith("merges.txt")]


def test_an_empty_file_with_the_digest_of_another_is_refused(
    registry: Path, server: StaticServer, tmp_path: Path, amounts: Amounts
) -> None:
    line = (registry / "index/acme/sql").read_bytes().splitlines()[1]
    forged = json.loads(line)
    forged["files"][0]["size"] = 0
    raw = json.dumps(forged, sort_keys=True, separators=(",", ":")).encode()
    server.override["/index/acme/sql"] = (200, {}, raw + b"\n")
    bricks = opened(tmp_path, server.url)
    with pytest.raises(IntegrityFault):
        install(bricks, bricks.pin(SQL), amounts)


@pytest.mark.parametrize("registries", [1, 2])
def test_what_two_bricks_have_in_common_is_fetched_once(
    registries: int, registry: Path, server: StaticServer, tmp_path: Path
) -> None:
    publish(registry, entry("1.0.0", model(160_000), name="acme/other"), files=model(160_000))
    publish(registry, entry("1.1.0", model(160_000)), files=model(160_000))
    names = ["corp", "mirror"][:registries]
    addresses = dict.fromkeys(names, server.url)
    bricks = open_sources(tmp_path, addresses, offline=False, cache=tmp_path / "cache")
    wanted = (("acme/sql", names[0]), ("acme/other", names[-1]))
    pins = [bricks.pin(RegistryReference(name=name, version="^1", registry=at)) for name, at in wanted]
    server.requests.clear()
    start = threading.Barrier(4)

    def fetch(number: int) -> Path:
        pin = pins[number % 2]
        file = pin.file("model.safetensors")
        assert file is not None
        start.wait()
        return bricks.fetch(pin, file, Amounts())

    with ThreadPoolExecutor(4) as pool:
        places = set(pool.map(fetch, range(4)))
    assert len(places) == 1
    assert [status for _, status, _ in server.requests] == [206]


def test_whoever_waits_for_a_download_that_fails_tries_anew(
    server: StaticServer, tmp_path: Path, amounts: Amounts
) -> None:
    bricks = opened(tmp_path, server.url)
    pin = bricks.pin(SQL)
    server.override["/files/acme/sql/1.1.0/config.json"] = (200, {}, b"{}")
    with pytest.raises(IntegrityFault):
        install(bricks, pin, amounts)
    server.override.clear()
    assert install(bricks, pin, amounts)


def test_turns_are_forgotten_when_nobody_wants_them() -> None:
    turns, order = Turns(), []
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with turns.of("a"):
            inside.set()
            go_on.wait(10)
            order.append("first")

    def second() -> None:
        with turns.of("a"):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    inside.wait(10)
    threads[1].start()
    with turns.of("b"):
        go_on.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]
    assert not turns._locks
    assert not turns._wanted


def test_what_a_killed_process_left_goes_and_what_somebody_is_writing_stays(
    server: StaticServer, tmp_path: Path, amounts: Amounts
) -> None:
    bricks = opened(tmp_path, server.url)
    pin = bricks.pin(SQL)
    folder = tmp_path / "cache" / "blobs" / "sha256"
    folder.mkdir(parents=True)
    (folder / ".brickctl-new-dead").write_bytes(b"half")
    (folder / ".brickctl-new-link").symlink_to(tmp_path / "nothing")
    with (folder / ".brickctl-new-alive").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        install(bricks, pin, amounts)
    left = sorted(path.name for path in folder.glob(".brickctl-new-*"))
    assert left == [".brickctl-new-alive", ".brickctl-new-link"]
