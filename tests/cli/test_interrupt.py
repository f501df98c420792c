"""Ctrl-C while a server takes its time: brickctl leaves within seconds, and leaves nothing half under a final name."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from brickctl.core.brick import File
from brickctl.core.digests import Sha256, interface_digest
from brickctl.core.registry_line import RegistryEntry, encode_line
from tests.support import sandbox as bricks
from tests.support.hub import Hub, Stall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("ctrl_c")

SHAPES = {"model.embed_tokens.weight": (1_000_000, 8), "lm_head.weight": (16, 8)}
MODEL = {**bricks.model(), "model.safetensors": bricks.weights(SHAPES)}
SECONDS = 6
SENT = 1_000_000


def interrupted(
    sandbox: Sandbox, *arguments: str, once: Callable[[], bool]
) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run brickctl, press Ctrl-C once something is so; what it said, and how many seconds it took to leave."""
    child = subprocess.Popen(
        [sys.executable, "-m", "brickctl", *arguments],
        cwd=sandbox.root,
        env=sandbox.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        patience = time.monotonic() + 60
        while not once():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < patience
            time.sleep(0.05)
        pressed = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        took = time.monotonic() - pressed
    finally:
        child.kill()
    return subprocess.CompletedProcess(arguments, child.returncode, out, err), took


def partial_files(folder: Path, glob: str) -> list[Path]:
    """Files that some bytes have reached."""
    return [path for path in folder.rglob(glob) if path.is_file() and path.stat().st_size]


def downloads(cache: Path) -> list[Path]:
    """Unfinished files but those of the ledger, which are there for a moment whenever a file was hashed."""
    return [path for path in partial_files(cache, ".brickctl-new-*") if path.parent.name != "ledger"]


def contents(folder: Path) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_download_from_a_hub_that_is_silent_does_not_keep_the_shell(options: tuple[str, ...], empty: Sandbox) -> None:
    with Hub() as hub:
        hub.repository("acme/base").commit(MODEL)
        empty.write({"brick.toml": '[project]\nname = "support"\n[base]\nsource = "hf:acme/base"\n'})
        sandbox = replace(empty, variables=hub.environment(empty.home / "hf"))
        assert sandbox.spawn("lock").code == 0
        hub.fault("*/resolve/*/model.safetensors", Stall(SENT), method="GET")
        hub.reset_log()

        done, took = interrupted(sandbox, "install", *options, once=lambda: hub.weight_bytes_sent() >= SENT)

        assert (done.returncode, took < SECONDS) == (130, True), (done, took)
        if options:
            assert [json.loads(line)["error"]["code"] for line in done.stdout.splitlines()] == ["interrupted"]
        assert ("error: interrupted" in done.stderr, "Traceback" in done.stderr) == (not options, False)
        assert not list((empty.home / "hf").rglob("snapshots/*/model.safetensors"))
        hub.clear_faults()
        assert sandbox.spawn("install").code == 0


class Trickle(SimpleHTTPRequestHandler):
    """A server whose weights come drop by drop."""

    def copyfile(self, source: object, outputfile: object) -> None:
        if not self.path.endswith(".safetensors"):
            super().copyfile(source, outputfile)  # type: ignore[type-var]
            return
        try:
            while piece := source.read(1 << 14):  # type: ignore[attr-defined]
                outputfile.write(piece)  # type: ignore[attr-defined]
                time.sleep(0.05)
        except ConnectionError:
            return

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
        pass


@contextmanager
def trickling(root: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Trickle, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def publish(root: Path) -> None:
    """A registry with one base."""
    files = [
        File(path=path, size=len(data), sha256=Sha256(hashlib.sha256(data).hexdigest())) for path, data in MODEL.items()
    ]
    entry = RegistryEntry(
        name="acme/base",
        version="1.0.0",
        kind="base",
        source="index:acme/base/1.0.0",
        files=tuple(sorted(files)),
        interface=interface_digest(SHAPES),
        license="MIT",
        yanked=False,
    )
    parts = {"config.json": b'{"v":1}\n', "index/acme/base": encode_line(entry)}
    for path, data in {**parts, **{f"files/acme/base/1.0.0/{path}": data for path, data in MODEL.items()}}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def test_a_download_from_a_registry_that_trickles_is_given_up_and_its_part_removed(
    empty: Sandbox, tmp_path: Path
) -> None:
    publish(tmp_path / "registry")
    cache = empty.home / "cache"
    with trickling(tmp_path / "registry") as url:
        empty.write(
            {
                "brick.toml": f'[project]\nname = "support"\n[registries]\ncorp = "{url}"\n'
                '[base]\nbrick = "acme/base"\nregistry = "corp"\n'
            }
        )
        assert empty.spawn("lock").code == 0

        done, took = interrupted(empty, "install", once=lambda: bool(downloads(cache)))

    assert (done.returncode, took < SECONDS) == (130, True), (done, took)
    assert done.stdout == ""
    assert done.stderr.splitlines()[-2] == "error: interrupted"
    assert not list(cache.rglob(".brickctl-new-*"))
    assert hashlib.sha256(MODEL["model.safetensors"]).hexdigest() not in {path.name for path in cache.rglob("*")}
