"""Requests and what is answered, without a network."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.mirror.repositories import shelf_of
from brickctl.mirror.routes import Request, reply_to
from tests.support.mirroring import COMMIT, CONTENTS, file, lock_of, pinned, small_lock

SHELF = shelf_of(
    lock_of(
        pinned("hf:acme/base", {**CONTENTS, "deep/er/config.json": b"{}"}, commit=COMMIT),
        {"base": "main", "gpt": "release/1"},
        gpt=pinned("hf:gpt2", {"config.json": b"{}"}, commit=COMMIT),
    )
)
MODEL = file("model.safetensors", CONTENTS["model.safetensors"])
FILE = "/acme/base/resolve/main/model.safetensors"


def asked(target: str, method: str = "GET", **settings: Any) -> Any:
    return reply_to(SHELF, Request(method=method, target=target, **settings))


def told(target: str, method: str = "GET", **settings: Any) -> Any:
    return json.loads(asked(target, method, **settings).content)


@pytest.mark.parametrize("revision", ["main", COMMIT, COMMIT[:8]])
def test_a_repository_is_described_at_a_revision(revision: str) -> None:
    info = told(f"/api/models/acme/base/revision/{revision}")
    assert (info["id"], info["sha"], info["cardData"]) == ("acme/base", COMMIT, {"license": "apache-2.0"})
    assert info["siblings"][0] == {"rfilename": "config.json"}
    assert told("/api/models/acme/base")["sha"] == COMMIT


def test_a_repository_is_there_although_the_lock_knows_no_main_of_it() -> None:
    assert told("/api/models/gpt2")["sha"] == COMMIT
    assert asked("/api/models/gpt2/revision/main").headers["X-Error-Code"] == "RevisionNotFound"


def test_sizes_and_digests_are_told_when_they_are_asked_for() -> None:
    siblings = {one["rfilename"]: one for one in told("/api/models/acme/base?blobs=true")["siblings"]}
    assert siblings["model.safetensors"]["size"] == MODEL.size
    assert siblings["model.safetensors"]["lfs"]["sha256"] == MODEL.sha256


def test_a_revision_with_a_slash_is_one_part_of_the_path() -> None:
    assert told("/api/models/gpt2/revision/release%2F1")["sha"] == COMMIT
    assert asked("/gpt2/resolve/release%2F1/config.json").status == 200
    assert asked("/gpt2/resolve/release/1/config.json").headers["X-Error-Code"] == "RevisionNotFound"


def test_a_tree_has_the_entries_of_one_folder_or_of_all() -> None:
    flat = {one["path"]: one["type"] for one in told("/api/models/acme/base/tree/main")}
    deep = {one["path"]: one["type"] for one in told("/api/models/acme/base/tree/main/deep?recursive=true")}
    assert flat == {**dict.fromkeys(CONTENTS, "file"), "deep": "directory"}
    assert deep == {"deep/er": "directory", "deep/er/config.json": "file"}
    assert asked("/api/models/acme/base/tree/main/dee").headers["X-Error-Code"] == "EntryNotFound"


def test_paths_are_described_from_a_form_and_from_json() -> None:
    form = told("/api/models/acme/base/paths-info/main", "POST", body=b"paths=model.safetensors&paths=no&expand=False")
    body = json.dumps({"paths": ["model.safetensors", "deep"]}).encode()
    by_json = told("/api/models/acme/base/paths-info/main", "POST", body=body, kind="application/json; charset=utf-8")
    assert [one["path"] for one in form] == ["model.safetensors"]
    assert [one["type"] for one in by_json] == ["file", "directory"]
    assert form[0]["lfs"]["oid"] == MODEL.sha256


@pytest.mark.parametrize("body", [b"\xff", b"{", b"[]", b'{"paths": 1}', b'{"paths": [1]}', b"[" * 100_000])
def test_a_body_that_is_no_list_of_paths_is_refused(body: bytes) -> None:
    assert asked("/api/models/acme/base/paths-info/main", "POST", body=body, kind="application/json").status == 400


def test_names_of_commits_are_listed() -> None:
    branches = told("/api/models/acme/base/refs")["branches"]
    assert branches == [{"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_has_the_headers_that_clients_look_at(method: str) -> None:
    reply = asked(FILE, method)
    assert (reply.status, reply.file, reply.length) == (200, MODEL, MODEL.size)
    headers = {name.lower(): value for name, value in reply.headers.items()}
    assert headers["etag"] == headers["x-linked-etag"] == f'"{MODEL.sha256}"'
    assert (headers["x-linked-size"], headers["x-repo-commit"]) == (str(MODEL.size), COMMIT)


def test_names_with_spaces_and_accents_are_found_and_told_in_ascii() -> None:
    name = next(name for name in CONTENTS if not name.isascii())
    reply = asked(f"/acme/base/resolve/main/{quote(name)}")
    assert reply.status == 200
    assert all(value.isascii() for value in reply.headers.values())


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=100-", (100, MODEL.size)),
        ("bytes=-100", (MODEL.size - 100, MODEL.size)),
        ("bytes=5-999999999", (5, MODEL.size)),
        ("bytes=-999999999", (0, MODEL.size)),
    ],
)
def test_a_part_is_a_part(wanted: str, part: tuple[int, int]) -> None:
    reply = asked(FILE, wanted=wanted)
    assert (reply.status, (reply.start, reply.stop)) == (206, part)
    assert reply.headers["Content-Range"] == f"bytes {part[0]}-{part[1] - 1}/{MODEL.size}"


@pytest.mark.parametrize(
    "wanted", ["bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "bytes=٣-", "bytes=1-" + "9" * 30]
)
def test_what_is_no_range_gets_the_whole(wanted: str) -> None:
    assert (asked(FILE, wanted=wanted).status, asked(FILE, wanted=wanted).length) == (200, MODEL.size)


@pytest.mark.parametrize("wanted", [f"bytes={MODEL.size}-", "bytes=9-5", "bytes=-0"])
def test_a_part_that_is_not_there_is_refused(wanted: str) -> None:
    reply = asked(FILE, wanted=wanted)
    assert (reply.status, reply.headers["Content-Range"]) == (416, f"bytes */{MODEL.size}")


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/acme/other/resolve/main/config.json", "RepoNotFound"),
        ("/api/models/acme/other", "RepoNotFound"),
        ("/api/models/acme/base/revision/v9", "RevisionNotFound"),
        ("/acme/base/resolve/v9/config.json", "RevisionNotFound"),
        ("/acme/base/resolve/main/adapter_config.json", "EntryNotFound"),
    ],
)
def test_what_is_not_there_is_told_in_the_words_of_the_hub(target: str, code: str) -> None:
    assert (asked(target).status, asked(target).headers["X-Error-Code"]) == (404, code)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("target", ["/api/models/acme/base", "/api/models/acme/base/tree/main", FILE])
def test_nothing_can_be_written(method: str, target: str) -> None:
    reply = asked(target, method)
    assert (reply.status, reply.headers["Allow"], reply.file) == (405, "GET, HEAD", None)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "/api/models",
        "/api/models/",
        "/acme",
        "/acme/base",
        "/acme/base/resolve",
        "/acme/base/resolve/main",
        "/acme/base/resolve/main/",
        "/acme/base/resolve/main/deep",
        "/acme/base/resolve/main/../main/config.json",
        "/acme/base/resolve/main/..%2f..%2f..%2fetc%2fpasswd",
        "/acme/base/resolve/main//etc/passwd",
        "/acme/base/resolve/main/config.json%00",
        "/acme/base/resolve/main/./config.json",
        "/acme/base/blob/main/config.json",
        "/blobs/" + MODEL.sha256,
        "/brick.lock",
        "/%2e%2e/%2e%2e/etc/passwd",
        "http://127.0.0.1/acme/base/resolve/main/config.json",
        "acme/base/resolve/main/config.json",
        "/%ff",
        "*",
        "",
    ],
)
def test_no_other_path_leads_to_a_file_or_a_list(target: str) -> None:
    reply = asked(target)
    assert reply.status in {400, 404}
    assert reply.file is None
    assert b"config.json" not in reply.content


@given(st.text(max_size=60), st.sampled_from(["GET", "HEAD", "POST"]), st.binary(max_size=60))
def test_no_request_brings_it_down_or_puts_words_into_headers(text: str, method: str, body: bytes) -> None:
    for target in (text, f"/{text}", f"/api/models/acme/base/{text}", f"/acme/base/resolve/{text}/{text}"):
        reply = reply_to(
            shelf_of(small_lock()), Request(method=method, target=target, wanted=text, kind=text, body=body)
        )
        assert reply.status in {200, 206, 400, 404, 405, 416}
        assert all(value.isascii() and value.isprintable() for value in reply.headers.values())
