"""What is said of registries that are not there, that answer wrongly, or that change what was published."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.sources.registries import entry, publish
from tests.sources.static_server import StaticServer
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

FILES = bricks.model(fill=3)
FOLDER = "./registry"
LINE = "index/acme/sql"


def manifest(address: str = FOLDER, *, version: str = "^1", name: str = "acme/sql", registry: str = "corp") -> str:
    return (
        f'[project]\nname = "support"\n\n[registries]\ncorp = "{address}"\n\n[base]\nsource = "path:base"\n\n'
        f'[bricks]\nsql = {{ brick = "{name}", version = "{version}", registry = "{registry}" }}\n'
    )


def lay(sandbox: Sandbox, text: str) -> Path:
    """A project that takes a brick from a registry beside it."""
    sandbox.write(bricks.model(), "base")
    sandbox.write({"brick.toml": text})
    versions = entry("1.0.0", FILES), entry("1.1.0", FILES, yanked=True)
    return publish(sandbox.root / "registry", *versions, files=FILES)


def rewritten(path: Path, **changes: Any) -> None:
    """Change fields of the first line of an index."""
    first, *rest = path.read_bytes().splitlines(keepends=True)
    line = {**json.loads(first), **changes}
    path.write_bytes(json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n" + b"".join(rest))


def gone(path: Path) -> None:
    path.unlink()


def written(path: Path, content: bytes) -> None:
    path.write_bytes(content)


NAMES: dict[str, str] = {
    "another name": manifest(name="acme/sqll"),
    "a name that is none": manifest(name="SQL"),
    "another version": manifest(version="^2"),
    "a range that is none": manifest(version="1 or 2"),
    "a registry that is not declared": manifest(registry="corpp"),
    "a name that none of several has": manifest(name="acme/none").replace('y = "corp" }', 'y = ["corp", "builtin"] }'),
    "a list of registries without one": manifest().replace('y = "corp" }', "y = [] }"),
    "an address over http": manifest("http://bricks.example"),
    "an address that is none": manifest("bricks.example"),
    "a folder that is none": manifest("./nowhere"),
    "another machine": manifest("file://server/share"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_brick_that_is_not_there(
    name: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    lay(empty, NAMES[name])
    outcome = empty.run("lock")
    assert outcome.code != 0
    assert said(outcome) == snapshot


CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "config.json, gone": ("config.json", gone),
    "config.json, no JSON": ("config.json", partial(written, content=b"<html>")),
    "config.json, a newer layout": ("config.json", partial(written, content=b'{"v":2}\n')),
    "a line, no JSON": (LINE, partial(written, content=b"oops\n")),
    "a line, spaces": (LINE, partial(written, content=b'{"v": 1}\n')),
    "a line, no name": (LINE, partial(written, content=b'{"v":1}\n')),
    "a line, a newer format": (LINE, partial(rewritten, v=2)),
    "a line, dependencies": (LINE, partial(rewritten, dependencies=["acme/other"])),
    "a line, another brick": (LINE, partial(rewritten, name="acme/mail", source="index:acme/mail/1.0.0")),
    "a line, twice": (LINE, lambda path: written(path, path.read_bytes() * 2)),
    "a line, an unknown key": (LINE, partial(rewritten, colour="red")),
    "a line, no licence": (LINE, partial(rewritten, license="free")),
    "a line, another digest": (LINE, partial(rewritten, digest=f"sha256:{'0' * 64}")),
    "a line, files elsewhere": (LINE, partial(rewritten, source="path:../../secrets")),
    "a line, a time that is none": (LINE, partial(rewritten, published="yesterday")),
    "a page, too large": (LINE, partial(written, content=b" " * 8_000_001)),
    "a file, gone": ("files/acme/sql/1.0.0/tokenizer.json", gone),
    "a file, another": ("files/acme/sql/1.0.0/tokenizer.json", partial(written, content=b'{"version": "2.0"}')),
}
"""What is wrong below the root of a registry."""


@pytest.mark.parametrize("name", CHANGES)
def test_a_registry_that_is_wrong(
    name: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    root = lay(empty, manifest())
    path, change = CHANGES[name]
    change(root / path)
    outcome = empty.run("install")
    assert outcome.code != 0
    assert said(outcome) == snapshot


def test_a_version_that_changed_after_it_was_published(
    empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    root = lay(empty, manifest())
    assert empty.run("lock").code == 0
    rewritten(root / LINE, summary="better than ever")
    assert _named(said(empty.run("update"))) == snapshot


@pytest.mark.parametrize("gone", ["a version", "the brick"])
def test_what_is_no_longer_there(
    gone: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    root = lay(empty, manifest())
    assert empty.run("lock").code == 0
    page = root / LINE
    page.write_bytes(page.read_bytes().splitlines(keepends=True)[1]) if gone == "a version" else page.unlink()
    outcome = empty.run("update")
    assert outcome.code == 4
    assert _named(said(outcome)) == snapshot


def test_a_version_with_other_files_than_were_locked(
    empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    """Somebody else's lock, and a registry that was never seen on this machine."""
    root = lay(empty, manifest())
    assert empty.run("lock").code == 0
    for path in (empty.home / "cache" / "registries" / "seen").iterdir():
        path.unlink()
    publish(root, entry("1.0.0", bricks.model(fill=4)), files=bricks.model(fill=4))
    empty.write({"brick.toml": manifest(version="^1.0")})
    assert said(empty.run("lock")) == snapshot


def _named(text: str) -> str:
    """Without the digest of an address that has a folder of this test in it."""
    head, _, rest = text.partition("/seen/")
    return f"{head}/seen/ADDRESS{rest[64:]}" if rest else head


ANSWERS: dict[str, tuple[str, tuple[int, dict[str, str], bytes]]] = {
    "no registry": ("/config.json", (404, {}, b"")),
    "not well": ("/config.json", (500, {}, b"")),
    "a brick that is gone for good": ("/index/acme/sql", (410, {}, b"")),
    "a brick that is withheld": ("/index/acme/sql", (451, {}, b"")),
    "a file that is withheld": ("/files/acme/sql/1.0.0/model.safetensors", (451, {}, b"")),
    "a registry for others": ("/config.json", (403, {}, b"")),
    "a registry that is busy for long": ("/index/acme/sql", (429, {"Retry-After": "3600"}, b"")),
    "a page that is compressed": ("/index/acme/sql", (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b")),
    "a redirect to http": ("/config.json", (302, {"Location": "http://bricks.example/config.json"}, b"")),
    "a page that is cut": ("/index/acme/sql", (200, {"Content-Length": "9000"}, b"{")),
    "a file that is gone": ("/files/acme/sql/1.0.0/model.safetensors", (404, {}, b"")),
    "a file that is another": ("/files/acme/sql/1.0.0/tokenizer.json", (200, {}, b'{"version": "2.0"}')),
    "a header of another size": ("/files/acme/sql/1.0.0/model.safetensors", (200, {}, b"short")),
    "a header that is no header": (
        "/files/acme/sql/1.0.0/model.safetensors",
        (200, {}, b"\xff" * len(FILES["model.safetensors"])),
    ),
}
"""What a server answers instead."""


@pytest.mark.parametrize("name", ANSWERS)
def test_a_server_that_is_wrong(
    name: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    with StaticServer(empty.root / "registry") as server:
        lay(empty, manifest(server.url))
        path, answer = ANSWERS[name]
        server.override[path] = answer
        outcome = empty.run("install")
    assert outcome.code != 0
    assert said(outcome) == snapshot


def test_a_file_that_went_bad_in_the_cache(
    empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    with StaticServer(empty.root / "registry") as server:
        lay(empty, manifest(server.url))
        assert empty.run("install").code == 0
        for path in (empty.home / "cache" / "blobs" / "sha256").iterdir():
            path.write_bytes(b"bad")
        outcome = empty.run("install")
    assert outcome.code == 4
    assert said(outcome) == snapshot


def test_a_server_that_is_not_there(
    empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    with StaticServer(empty.root) as server:
        pass
    lay(empty, manifest(server.url))
    assert [said(empty.run("lock")), said(empty.run("lock", "--offline"))] == snapshot
