"""Locks whose bricks come from everywhere, and a mirror of files in memory and on loopback."""

from __future__ import annotations

import hashlib
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from brickctl.core.brick import File, Pin
from brickctl.core.digests import Sha256
from brickctl.core.lock import Lock, Locked
from brickctl.core.names import Alias
from brickctl.mirror.repositories import shelf_of
from brickctl.mirror.server import Mirror

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse
    from pathlib import Path

COMMIT, OTHER = "a" * 40, "b" * 40
CONTENTS = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": bytes(range(256)) * 40,
    "empty.txt": b"",
    "de\u0300ja vu.model": b"a name with a space and an accent",
}


def file(path: str, content: bytes) -> File:
    return File(path=path, size=len(content), sha256=Sha256(hashlib.sha256(content).hexdigest()))


def pinned(source: str, contents: Mapping[str, bytes] | None = None, **settings: Any) -> Pin:
    files = [file(path, content) for path, content in (CONTENTS if contents is None else contents).items()]
    return Pin(source=source, files=tuple(sorted(files)), **settings)


def entry(alias: str, pin: Pin, licence: str = "Apache-2.0") -> Locked:
    return Locked(alias=Alias(alias), kind="expert", pin=pin, interface=Sha256("0" * 64), license=licence)


def lock_of(base: Pin, revisions: Mapping[str, str] | None = None, **bricks: Pin) -> Lock:
    """A lock; `revisions` are what brick.toml asked for, by alias."""
    asked = {alias: {"revision": revision} for alias, revision in (revisions or {}).items()}
    manifest = {"base": asked.pop("base", {}), "bricks": asked}
    entries = {Alias(alias): entry(alias, pin) for alias, pin in bricks.items()}
    return Lock(base=entry("base", base), bricks=entries, manifest=manifest)


def small_lock() -> Lock:
    """`acme/base` of the Hub, whose `main` is known."""
    return lock_of(pinned("hf:acme/base", commit=COMMIT), {"base": "main"})


@dataclass
class Running:
    """A mirror on loopback, and what it warned of."""

    server: Mirror
    folder: Path
    warnings: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> tuple[HTTPResponse, bytes]:
        """One request on a connection of its own, sent as it stands."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, target, body, {name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def send(self, raw: bytes) -> bytes:
        """Bytes that need not be HTTP, and everything that comes back until the server hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while piece := connection.recv(1 << 16):
                received += piece
            return received


@contextmanager
def mirroring(folder: Path, lock: Lock | None = None, host: str = "127.0.0.1") -> Iterator[Running]:
    """A mirror whose files lie below `folder` by their digests."""
    for content in CONTENTS.values():
        (folder / hashlib.sha256(content).hexdigest()).write_bytes(content)
    warnings: list[str] = []
    shelf = shelf_of(small_lock() if lock is None else lock)
    with Mirror(shelf, lambda one: folder / one.sha256, host=host, port=0, warn=warnings.append) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Running(server, folder, warnings)
        finally:
            server.shutdown()
            thread.join()
