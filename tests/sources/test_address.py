from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.request import Request

import pytest

from brickctl.errors import ManifestInvalid, PolicyViolation, TransportFault
from brickctl.sources import web
from brickctl.sources.address import check_address
from tests.sources.registries import SQL, opened

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sources.static_server import StaticServer

NO_ADDRESSES = [
    "http://[",
    "https://[::1",
    "https://[::g]/",
    "https://a..b/",
    "https://.a/",
    f"https://{'a' * 64}.example/",
    f"https://{'a.' * 130}example/",
    "https://",
    "https:///index",
    "https:index",
    "https://%0a/",
    "https://a b/",
    "https://a.example/ b",
    "https://a.example\\b/",
    "https://a.example/\x1b[2J",
    "https://a.example/\x7f",
    "https://a\n.example/",
    "https://a.example/\x9b",
    "https://a\u202e.example/",
    "https://\ud800/",
    "https://a.example:port/",
    "https://a.example:99999/",
]


@pytest.mark.parametrize(
    "address", ["https://a.example", "https://a.example./x?y", "http://[::1]:80/", "https://[::1]"]
)
def test_addresses_of_servers_pass(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_address_is_refused_in_words_that_a_terminal_may_show(address: str) -> None:
    with pytest.raises(PolicyViolation, match="is no address that can be asked") as caught:
        check_address(address)
    assert caught.value.hint is not None
    assert all(line.isprintable() for line in str(caught.value).splitlines())
    assert len(caught.value.message) < 120


def test_a_password_is_refused_and_never_shown() -> None:
    for address in (
        "https://me:secret@a.example/",
        "https://me:se/cret@a.example/",
        "https://a.example:x/?token=secret",
    ):
        with pytest.raises(PolicyViolation) as caught:
            check_address(address)
        assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["http://[", "https://[::1", "https://a..b/", "https://", "https://a b/", "HTTPS://["]
)
def test_a_registry_without_an_address_is_an_error_of_ours(address: str, tmp_path: Path) -> None:
    with pytest.raises((PolicyViolation, ManifestInvalid)):
        opened(tmp_path, address).pin(SQL)


@pytest.mark.parametrize("address", ["file://[", "file:///a%00b", "file:///a%1b[2J"])
def test_a_folder_that_cannot_be_is_an_error_in_the_manifest(address: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid):
        opened(tmp_path, address).pin(SQL)


@pytest.mark.parametrize(
    "target",
    ["http://[", "https://[::1", "https://a..b/", "https://", "//", "https://a b/", "https://a:port/", "https://\xe4/"],
)
def test_a_redirect_to_no_address_is_an_error_of_ours(target: str, server: StaticServer, tmp_path: Path) -> None:
    server.override["/config.json"] = (302, {"Location": target}, b"")
    with pytest.raises((PolicyViolation, TransportFault)) as caught:
        opened(tmp_path, server.url).pin(SQL)
    assert caught.value.hint is not None
    assert {path for path, _, _ in server.requests} == {"/config.json"}


def test_a_redirect_from_https_does_not_lead_to_a_server_on_this_machine() -> None:
    asked = Request("https://bricks.example/config.json")
    redirects = web._Redirects()
    for target in ("http://127.0.0.1:8080/admin", "HTTP://localhost/"):
        with pytest.raises(PolicyViolation, match="does not ask"):
            redirects.redirect_request(asked, None, 302, "Found", {}, target)
    followed = redirects.redirect_request(asked, None, 302, "Found", {}, "https://mirror.example/config.json")
    assert followed is not None
    assert followed.full_url == "https://mirror.example/config.json"
