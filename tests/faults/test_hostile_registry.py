"""Registries that mean harm: whatever they answer, they write nowhere, learn no token, and the exit code tells."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.core.digests import canonical_json
from brickctl.sources import pace
from tests.sources.raw_server import RawServer, drip, head
from tests.sources.registries import entry, publish
from tests.sources.static_server import StaticServer
from tests.support import sandbox as bricks
from tests.support import stages
from tests.support.hostility import TOKEN, Neighbourhood

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FILES = bricks.model(fill=3)
PAGE, WEIGHTS = "/index/acme/sql", "/files/acme/sql/1.0.0/model.safetensors"
DIGEST = "a" * 64
Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True, slots=True)
class World:
    """A hostile registry, a stranger who only listens, and somebody who uses the registry."""

    user: Neighbourhood
    registry: StaticServer
    stranger: StaticServer

    @property
    def root(self) -> Path:
        return self.registry.root

    def answer(self, path: str, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.registry.override[path] = (
            status,
            {name.replace("_", "-"): value for name, value in headers.items()},
            body,
        )

    def line(self, **changes: Any) -> None:
        """Change the line of the brick, in canonical form."""
        page = self.root / PAGE.lstrip("/")
        page.write_bytes(canonical_json({**json.loads(page.read_bytes()), **changes}) + b"\n")

    def raw_line(self, line: bytes) -> None:
        (self.root / PAGE.lstrip("/")).write_bytes(line + b"\n")

    def snapshot(self, content: bytes, path: str = "snapshot.jsonl.gz") -> None:
        (self.root / "config.json").write_bytes(canonical_json({"v": 1, "snapshot": path}))
        (self.root / "snapshot.jsonl.gz").write_bytes(content)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    stages.take_no_pauses(monkeypatch)
    monkeypatch.setattr(pace, "GRACE", 0.5)
    served = publish(tmp_path / "served", entry("1.0.0", FILES), files=FILES)
    user = Neighbourhood.new(tmp_path / "user")
    with StaticServer(served) as registry, StaticServer(served) as stranger:
        user.sandbox.write(bricks.model(), "base")
        user.sandbox.write({"brick.toml": manifest(registry.url)})
        yield World(user, registry, stranger)
        for headers in (*registry.headers, *stranger.headers):
            assert "authorization" not in headers
            assert "cookie" not in headers
            assert TOKEN not in " ".join(headers.values())


def manifest(address: str) -> str:
    return (
        f'[project]\nname = "support"\ndefault-registry = "corp"\n\n[registries]\ncorp = "{address}"\n\n'
        '[base]\nsource = "path:base"\n\n[bricks]\nsql = "acme/sql@^1"\n'
    )


def files(**changes: Any) -> list[dict[str, Any]]:
    """The list of a line with one file, which is changed."""
    return [{"path": "model.safetensors", "sha256": DIGEST, "size": 10, **changes}]


LINES: dict[str, Callable[[World], None]] = {
    "a file above the folder": lambda world: world.line(files=files(path="../../../../../../evil.safetensors")),
    "a file at the root": lambda world: world.line(files=files(path="/evil.safetensors")),
    "a file with backslashes": lambda world: world.line(files=files(path="..\\..\\evil.safetensors")),
    "a file on a drive": lambda world: world.line(files=files(path="C:evil.safetensors")),
    "a file with a line break": lambda world: world.line(files=files(path="a\nb.safetensors")),
    "a program": lambda world: world.line(files=files(path="modeling_evil.py")),
    "a pickle": lambda world: world.line(files=files(path="pytorch_model.bin")),
    "a file of an exabyte": lambda world: world.line(files=files(size=1 << 60)),
    "a file of less than nothing": lambda world: world.line(files=files(size=-1)),
    "a digest that leads elsewhere": lambda world: world.line(files=files(sha256="../../../evil")),
    "a digest that is not that of the files": lambda world: world.line(digest=f"sha256:{DIGEST}"),
    "no files": lambda world: world.line(files=[]),
    "a folder above": lambda world: world.line(subfolder="../../.."),
    "a source on this machine": lambda world: world.line(source="path:../../secrets"),
    "the source of another brick": lambda world: world.line(source="index:acme/other/1.0.0"),
    "another name": lambda world: world.line(name="acme/other"),
    "an unknown key": lambda world: world.line(post_install="rm -rf /"),
    "a key twice": lambda world: world.raw_line(b'{"v":1,"v":1}'),
    "no number": lambda world: world.raw_line(b'{"v":NaN}'),
    "brackets without end": lambda world: world.raw_line(b"[" * 100_000),
    "half a surrogate pair": lambda world: world.raw_line(b'{"name":"\\ud800","v":1}'),
    "no text": lambda world: world.raw_line(b"\xff\xfe"),
    "letters that a terminal obeys": lambda world: world.line(license="\x1b[2J\x1b[31mMIT"),
    "a page without end": lambda world: world.answer(PAGE, body=bytes(9_000_000)),
    "a registry that is no JSON": lambda world: world.answer("/config.json", body=b"[" * 100_000),
    "a registry with a snapshot elsewhere": lambda world: world.snapshot(b"", path="../../evil"),
}
"""What is in the index: each is refused as unsound, exit code 4."""


@pytest.mark.parametrize("name", LINES)
def test_an_index_that_lies(name: str, world: World) -> None:
    LINES[name](world)
    outcome = world.user.run("install")
    assert outcome.code == 4, outcome.err
    assert not world.user.sandbox.root.joinpath("brick.lock").exists()


BODY = FILES["model.safetensors"]
ANSWERS: dict[str, tuple[str, Answer, int]] = {
    "a bomb": (PAGE, (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(10_000_000))), 6),
    "a brick that was removed": (PAGE, (410, {}, b""), 1),
    "a brick that is withheld": (PAGE, (451, {}, b""), 1),
    "a request for a password": (PAGE, (401, {"WWW-Authenticate": 'Basic realm="hf"'}, b""), 1),
    "a request for the proxy's password": (PAGE, (407, {"Proxy-Authenticate": "Basic"}, b""), 6),
    "a wait of an hour": (PAGE, (429, {"Retry-After": "3600"}, b""), 6),
    "a server in trouble": (PAGE, (500, {}, b"<script>"), 6),
    "nothing new, unasked": (PAGE, (304, {}, b""), 6),
    "a page that is cut": (PAGE, (200, {"Content-Length": "99999"}, b"{"), 6),
    "weights with another byte": (WEIGHTS, (200, {}, BODY[:-1] + b"\0"), 4),
    "weights with more bytes": (WEIGHTS, (200, {}, BODY + b"\0"), 4),
    "weights with fewer bytes": (WEIGHTS, (200, {}, BODY[:-1]), 4),
    "weights that begin elsewhere": (WEIGHTS, (206, {"Content-Range": f"bytes 5-{len(BODY)}/{len(BODY)}"}, BODY), 6),
    "a header of a terabyte": (WEIGHTS, (200, {}, (1 << 40).to_bytes(8, "little") + BODY[8:]), 4),
    "a header that lies": (WEIGHTS, (200, {}, BODY[:8] + b"{" * (len(BODY) - 8)), 4),
    "a file that is a page about an error": ("/files/acme/sql/1.0.0/config.json", (200, {}, b"<html>"), 4),
}
"""What a server answers to a request, and the exit code."""


@pytest.mark.parametrize("name", ANSWERS)
def test_a_server_that_answers_wrongly(name: str, world: World) -> None:
    path, world.registry.override[path], code = ANSWERS[name]
    outcome = world.user.run("install")
    assert outcome.code == code, outcome.err
    world.registry.override.clear()
    assert world.user.run("install").code == 0, "nothing bad was kept"


REDIRECTS: dict[str, tuple[str, int]] = {
    "to a file": ("file:///etc/passwd", 6),
    "to ftp": ("ftp://127.0.0.1/evil", 5),
    "to plain http elsewhere": ("http://bricks.example/evil", 5),
    "with a password": ("http://user:secret@127.0.0.1:1/evil", 5),
    "to what is no address": ("http://[", 6),
}


@pytest.mark.parametrize("place", [PAGE, WEIGHTS])
@pytest.mark.parametrize("name", REDIRECTS)
def test_a_redirect_that_is_not_followed(name: str, place: str, world: World) -> None:
    target, code = REDIRECTS[name]
    world.answer(place, 302, Location=target)
    outcome = world.user.run("install")
    assert outcome.code == code, outcome.err
    assert "secret" not in outcome.err


def test_a_redirect_without_end(world: World) -> None:
    world.answer(PAGE, 302, Location=PAGE)
    assert world.user.run("install").code == 6
    assert len([path for path, _, _ in world.registry.requests if path == PAGE]) < 40


@pytest.mark.parametrize("place", ["/config.json", PAGE, WEIGHTS])
def test_a_redirect_to_a_stranger_brings_no_token_along(place: str, world: World) -> None:
    world.answer(place, 302, Location=f"{world.stranger.url}{place}")
    assert world.user.run("install").code == 0
    assert place in [path for path, _, _ in world.stranger.requests]


def test_cookies_and_tags_without_end_are_not_sent_back(world: World) -> None:
    page = (world.root / PAGE.lstrip("/")).read_bytes()
    world.answer(PAGE, body=page, Set_Cookie="token=1; Path=/", ETag='"' + "x" * 10_000 + '"')
    for _ in range(2):
        assert world.user.run("update").code == 0
    assert all(len(headers.get("if-none-match", "")) < 1000 for headers in world.registry.headers)


SLOW = {
    "a body": (head(content_length=10_000_000), b"x"),
    "a head": (b"HTTP/1.1 200 OK\r\n", b"x"),
    "answers that are none": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_server_that_drips(name: str, world: World) -> None:
    begin, piece = SLOW[name]
    with RawServer(drip(begin, piece, 0.01)) as slow:
        world.user.sandbox.write({"brick.toml": manifest(slow.url)})
        assert world.user.run("install").code == 6


def test_headers_without_end(world: World) -> None:
    with RawServer(drip(b"HTTP/1.1 200 OK\r\n", b"X-Long: " + b"x" * 60_000 + b"\r\n", 0)) as endless:
        world.user.sandbox.write({"brick.toml": manifest(endless.url)})
        assert world.user.run("install").code == 6


def later(change: Callable[[World], None], world: World) -> None:
    """Somebody has used the registry, and it changes."""
    assert world.user.run("lock").code == 0
    change(world)


CHANGES: dict[str, Callable[[World], None]] = {
    "a line that changed": partial(later, lambda world: world.line(summary="now with a backdoor")),
    "a version that is gone": partial(later, lambda world: world.line(version="1.0.1", source="index:acme/sql/1.0.1")),
    "a brick that is gone": partial(later, lambda world: (world.root / PAGE.lstrip("/")).unlink()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_published_stays(name: str, world: World) -> None:
    CHANGES[name](world)
    lock = world.user.sandbox.lock
    assert world.user.run("update").code == 4
    assert world.user.sandbox.lock == lock


def line(**changes: Any) -> bytes:
    sound = {"kind": "adapter", "license": "MIT", "name": "acme/sql", "summary": "", "tags": [], "v": 1}
    return canonical_json({**sound, "version": "1.0.0", **changes}) + b"\n"


SNAPSHOTS: dict[str, tuple[bytes, int]] = {
    "no gzip": (b"<html>", 4),
    "a bomb": (gzip.compress(bytes(100_000_000)), 4),
    "a bomb of lines": (gzip.compress(b"\n" * 50_000_000), 4),
    "half of it": (gzip.compress(line())[:-9], 4),
    "a name above": (gzip.compress(line(name="../../evil")), 4),
    "names twice": (gzip.compress(line() + line()), 4),
    "an unknown key": (gzip.compress(line(run="rm -rf /")), 4),
    "letters that a terminal obeys": (gzip.compress(line(summary="\x1b[2J\x1b]0;evil\x07\r\u202e")), 0),
    "the language of the database": (gzip.compress(line(summary="'); DROP TABLE bricks; --")), 0),
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_snapshot_that_means_harm(name: str, world: World) -> None:
    content, code = SNAPSHOTS[name]
    world.snapshot(content)
    outcome = world.user.run("search", "sql")
    assert outcome.code == code, outcome.err
    assert len(outcome.lines) == (2 if code == 0 else 0)


def test_a_folder_with_links_that_lead_out_of_it(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes((world.root / PAGE.lstrip("/")).read_bytes())
    (world.root / PAGE.lstrip("/")).unlink()
    (world.root / PAGE.lstrip("/")).symlink_to(secret)
    world.user.sandbox.write({"brick.toml": manifest(str(world.root))})
    assert world.user.run("install").code == 5


def test_weights_that_are_a_link_out_of_the_folder(world: World, tmp_path: Path) -> None:
    place = world.root / WEIGHTS.lstrip("/")
    (tmp_path / "secret").write_bytes(place.read_bytes())
    place.unlink()
    place.symlink_to(tmp_path / "secret")
    world.user.sandbox.write({"brick.toml": manifest(str(world.root))})
    assert world.user.run("install").code == 5


ADDRESSES = (
    "http://bricks.example",
    "https://user:hf_token@bricks.example",
    "file://server/share",
    "ftp://x",
    "https://x?y",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_not_asked(address: str, world: World) -> None:
    world.user.sandbox.write({"brick.toml": manifest(address)})
    outcome = world.user.run("install")
    assert outcome.code == 2
    assert world.registry.requests == []
