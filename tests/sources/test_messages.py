"""What strangers have written never reaches a terminal as it is."""

from __future__ import annotations

import errno
import os
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brickctl.core.brick import File
from brickctl.core.digests import Sha256
from brickctl.core.document import shown
from brickctl.core.reference import HubReference, PathReference
from brickctl.errors import BrickctlError, IntegrityFault, LockInvalid, NotFound, PolicyViolation, TransportFault
from brickctl.sources.contents import refuse_remote_code
from brickctl.sources.hub.client import Client
from brickctl.sources.hub.faults import Asked, no_revision, plain, translate
from brickctl.sources.hub.source import HubSource
from brickctl.sources.ledger import hash_file
from brickctl.sources.local import LocalSource
from brickctl.sources.naming import address_label
from brickctl.sources.pages import Page
from brickctl.sources.selection import select
from brickctl.sources.web import Web
from tests.sources.bricks import model, write
from tests.sources.registries import SQL, entry, opened, publish
from tests.support.hub import Hub

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.sources.ledger import Ledger
    from tests.sources.bricks import Amounts
    from tests.sources.static_server import StaticServer

OBEYED = ["\x1b[2J", "\x9b2J", "\x07", "\x7f", "\x85", "a\nb", "a\rb", "\u202e", "\u202a", "\u2066", "\u2069", "\u200b"]
HOSTILE = "x\x1b[2J\x9b1m\u202e"
DATE = PathReference(path="bricks/date")


def said(error: BrickctlError) -> str:
    """The text of an error, which must be plain."""
    text = str(error)
    assert all(line.isprintable() for line in text.split("\n")), ascii(text)
    assert len(text.split("\n")) <= 2 + len(error.causes) + (error.place is not None)
    return text


@pytest.mark.parametrize("text", OBEYED)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text: str) -> None:
    assert shown(text).isprintable()
    assert shown(text).isascii()
    assert shown({text: text}).isprintable()
    assert shown(f"{text}{'x' * 500}", longest=200).isprintable()
    assert len(shown(f"{text}{'x' * 500}", longest=200)) == 200


def test_a_path_is_shown_whole_where_it_must_be_found_again() -> None:
    assert shown("x" * 500, longest=500) == "x" * 500
    assert len(shown("x" * 500)) == 80


@pytest.mark.parametrize("name", [f"tokenizer{HOSTILE}", "tokenizer\x9b.json", "tokenizer\u202enosj"])
def test_a_file_whose_name_misleads_is_refused_by_every_source(
    name: str, tmp_path: Path, ledger: Ledger, amounts: Amounts
) -> None:
    write(tmp_path / "bricks/date", {**model(), name: b"{}"})
    with pytest.raises(PolicyViolation) as refused:
        LocalSource(tmp_path, ledger).pin(DATE)
    said(refused.value)
    publish(tmp_path / "registry", entry("1.0.0", model()))
    bricks = opened(tmp_path, "./registry")
    pin = bricks.pin(SQL)
    edited = replace(pin, files=(*pin.files, File(path=name, size=2, sha256=Sha256("0" * 64))))
    for source in (edited.source, "hf:acme/sql"):
        with pytest.raises(LockInvalid) as invalid:
            bricks.fetch(replace(edited, source=source, commit="0" * 40), edited.files[-1], amounts)
        said(invalid.value)


def test_a_link_in_a_folder_is_named_with_where_it_leads(tmp_path: Path, ledger: Ledger) -> None:
    write(tmp_path / "bricks/date", model())
    config = tmp_path / "bricks/date/config.json"
    config.unlink()
    config.symlink_to(tmp_path / HOSTILE)
    with pytest.raises(PolicyViolation, match="points to") as caught:
        LocalSource(tmp_path, ledger).pin(DATE)
    assert "u001b" in said(caught.value)


def test_a_link_that_leads_to_itself_is_no_file(tmp_path: Path, ledger: Ledger) -> None:
    write(tmp_path / "bricks/date", model())
    config = tmp_path / "bricks/date/config.json"
    config.unlink()
    config.symlink_to("config.json")
    with pytest.raises(BrickctlError) as caught:
        LocalSource(tmp_path, ledger).pin(DATE)
    said(caught.value)


def test_no_brick_is_suggested_whose_name_is_none(tmp_path: Path) -> None:
    publish(tmp_path / "registry", entry("1.0.0", model()))
    write(tmp_path / "registry/index/acme", {"sqll\x9b": b""})
    with pytest.raises(NotFound) as caught:
        opened(tmp_path, "./registry").pin(replace(SQL, name="acme/sqll"))
    assert "did you mean `acme/sql`?" in said(caught.value)


def test_the_layout_of_a_registry_is_shown_escaped(tmp_path: Path) -> None:
    write(publish(tmp_path / "registry", entry("1.0.0", model())), {"config.json": b'{"v":"\\u001b[2J\\u202e"}'})
    with pytest.raises(BrickctlError, match="has the layout") as caught:
        opened(tmp_path, "./registry").pin(SQL)
    said(caught.value)


def test_folders_and_files_that_are_listed_are_shown_escaped() -> None:
    for paths in ([f"{HOSTILE}/model.safetensors"], [f"{HOSTILE}.bin"], [HOSTILE]):
        with pytest.raises(BrickctlError) as caught:
            select(paths, lambda _: b"", where="hf:a/b")
        said(caught.value)


def test_keys_of_a_config_are_shown_escaped() -> None:
    with pytest.raises(PolicyViolation) as caught:
        refuse_remote_code({f"attn_implementation{HOSTILE}": "a/b"}, where="config.json")
    said(caught.value)


def test_what_a_server_says_instead_of_http_is_shown_escaped() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x1b[2J\x9b1m SPOOFED\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(TransportFault) as caught:
            Web().page(f"http://127.0.0.1:{server.getsockname()[1]}/", None, limit=10)
        thread.join()
    assert "SPOOFED" in said(caught.value)


def test_a_tag_that_is_no_text_is_not_sent_back(server: StaticServer) -> None:
    server.override["/x"] = (200, {"ETag": '"\x9b2J"'}, b"body")
    assert Web().page(f"{server.url}/x", None, limit=10) == Page(b"body", None)


def test_what_the_hub_says_is_shown_escaped(tmp_path: Path, ledger: Ledger) -> None:
    assert plain(RuntimeError(f"{HOSTILE} hf_secretsecret")).isprintable()
    asked = Asked(endpoint="https://hub", repository="acme/legal", revision="main", path=f"{HOSTILE}.json")
    assert "u001b" in said(translate(OSError(HOSTILE), asked))
    said(no_revision(replace(asked, revision=HOSTILE)))
    with Hub() as hub:
        repository = hub.repository("acme/legal")
        repository.commit(model())
        repository.tag(f"v2.0{HOSTILE}")
        bricks = HubSource(ledger, endpoint=hub.endpoint, cache=tmp_path / "cache")
        for revision in ("v2.0x", "nothing-like-it"):
            with pytest.raises(NotFound) as caught:
                bricks.pin(HubReference(repository="acme/legal", revision=revision))
            assert "u001b" in said(caught.value)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "no-space"),
        (errno.EFBIG, "no-space"),  # FAT, from 4 GB
        (errno.EIO, "failed"),
        (errno.ESTALE, "failed"),
        (errno.EROFS, "failed"),
        (errno.ECONNRESET, "transport"),
    ],
)
def test_a_disk_that_refuses_a_download_is_not_taken_for_the_network(number: int, code: str) -> None:
    asked = Asked(endpoint="https://hub", repository="acme/legal", revision="main", cache="/cache")
    error = translate(OSError(number, os.strerror(number)), asked)
    assert error.code == code
    assert error.hint is not None
    assert ("/cache" in error.hint) == (code != "transport")


def test_the_label_of_a_file_that_is_hashed_is_plain(tmp_path: Path, amounts: Amounts) -> None:
    place = tmp_path / HOSTILE
    place.write_bytes(b"content")
    hash_file(place, amounts)
    assert [label.isprintable() for label in (*amounts.totals, *amounts.finished)] == [True, True]


def test_a_lock_with_any_source_is_refused_in_plain_words(tmp_path: Path) -> None:
    bricks = opened(tmp_path, "./registry")
    pin = entry("1.0.0", model()).pin("corp")
    for source in (f"ftp:{HOSTILE}", f"index:{HOSTILE}", f"hf:{HOSTILE}"):
        with pytest.raises((LockInvalid, IntegrityFault)) as caught:
            bricks.locate(replace(pin, source=source))
        said(caught.value)


@pytest.mark.parametrize(
    ("address", "shown_as"),
    [
        ("https://me:hf_secret@hub.example/api", "https://hub.example/api"),
        ("http://hf_secret@127.0.0.1:80", "http://127.0.0.1:80"),
        ("https://huggingface.co", "https://huggingface.co"),
        ("https://hub.example/@acme", "https://hub.example/@acme"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, shown_as: str) -> None:
    assert address_label(address) == shown_as
    asked = Client(offline=True, endpoint=address).asked("acme/sql", "main")
    assert asked.endpoint == shown_as
