"""The mirror on a socket: bytes, broken requests, and people who mean no good."""

from __future__ import annotations

import hashlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from brickctl.errors import IntegrityFault
from brickctl.mirror import server as server_module
from brickctl.mirror.server import Handler
from tests.support.mirroring import CONTENTS, Running, mirroring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "/acme/base/resolve/main/model.safetensors"
WEIGHTS = CONTENTS["model.safetensors"]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Running]:
    with mirroring(tmp_path) as running:
        yield running
        assert running.ask("GET", FILE)[1] == WEIGHTS, "it goes on serving"


def status_of(received: bytes) -> int:
    return int(received.split(b" ", 2)[1])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "empty.txt"])
def test_a_file_arrives_as_it_is(mirror: Running, name: str) -> None:
    response, body = mirror.ask("GET", f"/acme/base/resolve/main/{name}")
    assert (response.status, body) == (200, CONTENTS[name])
    assert response.headers["Content-Length"] == str(len(body))


def test_a_part_arrives_and_a_head_brings_no_body(mirror: Running) -> None:
    response, body = mirror.ask("GET", FILE, Range="bytes=100-299")
    assert (response.status, body) == (206, WEIGHTS[100:300])
    response, body = mirror.ask("HEAD", FILE)
    assert (response.status, body, response.headers["Content-Length"]) == (200, b"", str(len(WEIGHTS)))


def test_one_connection_carries_several_requests(mirror: Running) -> None:
    head = f"HEAD {FILE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    last = f"GET {FILE} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    received = mirror.send(head + head + last)
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert received.endswith(WEIGHTS)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: 34", 413),
        (b"Content-Length: 00000000000000000000000000000034", 400),
        (b"Content-Length: -1", 400),
        (b"Content-Length: 1e9", 400),
        (b"Content-Length: 34\r\nContent-Length: 0", 400),
        (b"Transfer-Encoding: chunked", 411),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 0", 411),
    ],
)
def test_a_body_that_nobody_asked_for_is_not_taken_for_a_request(mirror: Running, headers: bytes, status: int) -> None:
    hidden = b"GET /acme/base/resolve/main/config.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    received = mirror.send(
        b"GET " + FILE.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n" + hidden
    )
    assert status_of(received) == status
    assert received.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in received


@pytest.mark.parametrize(("length", "status"), [("1000001", 413), ("999999999999999999", 413), ("x", 400), (None, 411)])
def test_the_body_of_a_post_has_a_length_and_a_limit(mirror: Running, length: str | None, status: int) -> None:
    told = "" if length is None else f"Content-Length: {length}\r\n"
    head = f"POST /api/models/acme/base/paths-info/main HTTP/1.1\r\nHost: localhost\r\n{told}\r\n"
    assert status_of(mirror.send(head.encode())) == status


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET " + FILE.encode() + b" HTTP/9.9\r\n\r\n",
        b"GET " + FILE.encode() + b" FTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: \xff\r\n\r\n",
        b"DELETE " + FILE.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PUT " + FILE.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\noops",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: localhost\r\nCookie: secret\r\n\r\n",
    ],
)
def test_what_is_no_request_of_a_client_is_refused(mirror: Running, raw: bytes) -> None:
    received = mirror.send(raw)
    assert b" 200 " not in received
    assert b"secret" not in received
    assert WEIGHTS not in received
    assert mirror.warnings == []


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "localhost.evil:1"]
)
def test_a_page_in_a_browser_cannot_call_this_machine_by_a_name_of_its_own(mirror: Running, host: str) -> None:
    response, body = mirror.ask("GET", FILE, Host=host)
    assert response.status == 403
    assert WEIGHTS not in body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "[::1]"])
def test_this_machine_is_known_by_its_own_names(mirror: Running, host: str) -> None:
    assert mirror.ask("GET", FILE, Host=host)[0].status == 200


def test_a_server_for_others_has_any_name(tmp_path: Path) -> None:
    with mirroring(tmp_path, host="0.0.0.0") as mirror:  # noqa: S104 - it is what the test is about
        assert mirror.ask("GET", FILE, Host="models.corp.example")[0].status == 200
        assert not mirror.server.is_local
        assert mirror.server.url == f"http://{socket.gethostname()}:{mirror.port}"


def test_an_address_of_the_next_protocol_is_written_in_brackets(tmp_path: Path) -> None:
    with mirroring(tmp_path, host="::1") as mirror:
        assert (mirror.server.url, mirror.server.is_local) == (f"http://[::1]:{mirror.port}", True)


def test_a_file_that_is_not_what_was_promised_is_not_sent(tmp_path: Path) -> None:
    with mirroring(tmp_path) as mirror:

        def refuse(_: object) -> Path:
            raise IntegrityFault("model.safetensors is not what was vendored")

        mirror.server.place = refuse
        response, body = mirror.ask("GET", FILE)
    assert response.status == 409
    assert WEIGHTS not in body
    assert mirror.warnings == ["model.safetensors is not what was vendored"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    with mirroring(tmp_path) as mirror:
        blob = tmp_path / hashlib.sha256(WEIGHTS).hexdigest()
        blob.rename(tmp_path / "moved")
        blob.symlink_to(tmp_path / "moved")
        received = mirror.send(f"GET {FILE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert WEIGHTS not in received


def test_a_file_that_is_cut_while_it_is_served_ends_the_connection(tmp_path: Path) -> None:
    with mirroring(tmp_path) as mirror:
        blob = tmp_path / hashlib.sha256(WEIGHTS).hexdigest()
        blob.write_bytes(WEIGHTS[:1000])
        request = f"GET {FILE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        received = mirror.send(request + request)
    assert f"Content-Length: {len(WEIGHTS)}".encode() in received
    assert received.endswith(WEIGHTS[:1000])
    assert received.count(b"HTTP/1.1 200") == 1


def test_a_client_that_says_nothing_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "timeout", 0.2)
    with mirroring(tmp_path) as mirror, socket.create_connection(("127.0.0.1", mirror.port), timeout=10) as silent:
        silent.sendall(b"GET /acme")
        begin = time.monotonic()
        assert silent.recv(1) == b""
        assert time.monotonic() - begin < 5
        assert mirror.warnings == []


def test_a_client_that_says_less_than_it_promised_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "timeout", 0.2)
    with mirroring(tmp_path) as mirror, socket.create_connection(("127.0.0.1", mirror.port), timeout=10) as slow:
        slow.sendall(
            b"POST /api/models/acme/base/paths-info/main HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\npa"
        )
        assert slow.recv(1) == b""
        assert mirror.warnings == []


def test_there_is_an_end_to_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 2)
    with mirroring(tmp_path) as mirror:
        open_ones = [socket.create_connection(("127.0.0.1", mirror.port), timeout=10) for _ in range(2)]
        time.sleep(0.2)
        with socket.create_connection(("127.0.0.1", mirror.port), timeout=10) as third:
            assert third.recv(1) == b""
        for connection in open_ones:
            connection.close()
        time.sleep(0.2)
        assert mirror.ask("GET", FILE)[0].status == 200
