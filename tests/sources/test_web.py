from __future__ import annotations

import gzip
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from brickctl.errors import BrickctlError, Gated, IntegrityFault, NotFound, TransportFault
from brickctl.sources import pace, patience
from brickctl.sources.patience import patiently
from brickctl.sources.web import Web
from tests.sources.bricks import model
from tests.sources.raw_server import RawServer, drip, head, reset, say
from tests.sources.registries import SQL, install, opened
from tests.sources.static_server import StaticServer

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.sources.pages import Page
    from tests.sources.bricks import Amounts

GOOD = head(content_length=2) + b"{}"
LIMIT = 8_000_000


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that somebody would have made."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def asked(server: RawServer) -> Page | None:
    return patiently(lambda: Web().page(f"{server.url}/x", None, limit=LIMIT))


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_server_that_asks_to_wait_is_given_its_time(status: str, pauses: list[float]) -> None:
    with RawServer(say(head(status, retry_after=7)), say(GOOD)) as server:
        page = asked(server)
    assert page is not None
    assert page.body == b"{}"
    assert pauses == [7.0]


def test_a_date_to_wait_for_is_understood(pauses: list[float]) -> None:
    date = formatdate(time.time() + 10, usegmt=True)
    with RawServer(say(head("503 Busy", retry_after=date)), say(GOOD)) as server:
        assert asked(server) is not None
    assert len(pauses) == 1
    assert 7 < pauses[0] <= 10


@pytest.mark.parametrize("nonsense", ["soon", "-1", "1e9", "Thu, 99 Foo 99999 00:00:00 GMT", "٣"])
def test_a_time_that_is_none_is_no_reason_to_wait(nonsense: str, pauses: list[float]) -> None:
    answer = head("503 Busy", retry_after="@").replace(b"@", nonsense.encode())
    with RawServer(say(answer), say(GOOD)) as server:
        assert asked(server) is not None
    assert pauses == [0.0]


def test_a_server_cannot_make_anybody_wait_for_an_hour(pauses: list[float]) -> None:
    with RawServer(say(head("429 Later", retry_after=3600))) as server, pytest.raises(TransportFault) as caught:
        asked(server)
    assert caught.value.causes == ("the server answered with status 429, and asks to wait 3600 s",)
    assert pauses == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "error", "requests", "words"),
    [
        (400, TransportFault, 1, "could not be read"),
        (401, Gated, 1, "only for those who may read it"),
        (403, Gated, 1, "only for those who may read it"),
        (410, NotFound, 1, "was removed for good"),
        (451, NotFound, 1, "may not be given out, for legal reasons"),
        (500, TransportFault, 3, "could not be read"),
        (502, TransportFault, 3, "could not be read"),
    ],
)
def test_a_status_says_whether_asking_again_can_help(
    status: int, error: type[BrickctlError], requests: int, words: str
) -> None:
    with RawServer(say(head(f"{status} No"))) as server, pytest.raises(error, match=words) as caught:
        asked(server)
    assert f"the server answered with status {status}" in caught.value.causes
    assert caught.value.hint
    assert len(server.requests) == requests


def test_what_is_not_there_is_none_and_no_failure() -> None:
    with RawServer(say(head("404 Not Found"))) as server:
        assert asked(server) is None
    assert len(server.requests) == 1


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 20", head(content_length=9) + b"{"])
def test_a_connection_that_is_torn_is_made_again(begin: bytes) -> None:
    with RawServer(reset(begin), say(GOOD)) as server:
        assert asked(server) is not None
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (head(content_length=1_000_000), b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["body", "head", "one line of the head", "1xx", "chunks"],
)
def test_a_server_that_drips_is_left(begin: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "GRACE", 0.3)
    started = time.monotonic()
    with (
        RawServer(drip(begin, piece, 0.01)) as server,
        pytest.raises(TransportFault, match="could not be read") as caught,
    ):
        Web().page(f"{server.url}/x", None, limit=LIMIT)
    assert time.monotonic() - started < 5
    assert any("more slowly than 10,000 bytes a second" in cause for cause in caught.value.causes)


def test_a_server_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SILENCE", 0.2)
    with RawServer(drip(head(content_length=5), b"x", 5)) as server, pytest.raises(TransportFault, match="could not"):
        Web().page(f"{server.url}/x", None, limit=LIMIT)


def test_an_endless_answer_is_cut_off() -> None:
    server = RawServer(drip(head(), b"x" * 1_000_000, 0))
    with server, pytest.raises(IntegrityFault, match="larger than 8,000,000 bytes"):
        asked(server)


def test_what_is_compressed_unasked_is_never_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    answer = head(content_encoding="gzip", content_length=len(bomb)) + bomb
    with RawServer(say(answer)) as server, pytest.raises(TransportFault, match="could not be read") as caught:
        asked(server)
    assert caught.value.causes == ("the server sent it compressed (gzip), and plain bytes were asked for",)
    assert len(server.requests) == 1


def test_a_file_is_gone_on_with_where_a_connection_was_torn(registry: Path, tmp_path: Path, amounts: Amounts) -> None:
    content = model()["model.safetensors"]
    half = len(content) // 2
    first = reset(head("206 Part", content_range=f"bytes 0-{len(content) - 1}/{len(content)}") + content[:half])
    rest = content[half:]
    second = say(head("206 Part", content_range=f"bytes {half}-{len(content) - 1}/{len(content)}") + rest)
    with StaticServer(registry) as server, RawServer(first, second) as torn:
        bricks = opened(tmp_path, server.url)
        pin = bricks.pin(SQL)
        path = "/files/acme/sql/1.1.0/model.safetensors"
        server.override[path] = (302, {"Location": f"{torn.url}/x"}, b"")
        assert install(bricks, pin, amounts)["model.safetensors"].read_bytes() == content
    assert amounts.done["index:acme/sql/1.1.0/model.safetensors"] == len(content)
    assert [b"bytes=%d-" % begin in request for begin, request in zip((0, half), torn.requests, strict=True)] == [
        True
    ] * 2


def test_three_attempts_are_made_with_pauses_between_them(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES", (1.0, 3.0))
    with RawServer(say(head("500 No"))) as server, pytest.raises(TransportFault):
        asked(server)
    assert (len(server.requests), pauses) == (3, [1.0, 3.0])
