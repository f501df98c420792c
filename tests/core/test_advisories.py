from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.advisories import Advisory, parse_advisories
from brickctl.core.lock_format import decode
from brickctl.core.names import Alias
from brickctl.errors import IntegrityFault, Unsupported

SQL = decode((Path(__file__).parent / "brick.lock").read_text(encoding="utf-8")).bricks[Alias("sql")].pin
ENTRY = {"id": "ACME-2026-1", "summary": "answers with a backdoor", "brick": "acme/sql", "versions": "<1.2.4"}


def read(*entries: object, **top: Any) -> tuple[Advisory, ...]:
    return parse_advisories(json.dumps({"v": 1, "advisories": entries, **top}).encode(), file="advisories.json")


def about(**changes: Any) -> bool:
    (advisory,) = read({key: value for key, value in {**ENTRY, **changes}.items() if value is not None})
    return advisory.is_about(SQL, "corp")


def test_a_range_means_versions_of_the_brick_in_the_registry_that_says_so() -> None:
    assert about()
    assert about(versions=None)
    assert not about(versions="<1.2.3")
    assert not about(brick="acme/mail")
    (advisory,) = read(ENTRY)
    assert not advisory.is_about(SQL, "builtin")
    assert not advisory.is_about(replace(SQL, brick=None, version=None, registry=None), "corp")


def test_a_pre_release_is_between_the_bounds_too() -> None:
    (advisory,) = read(ENTRY)
    assert advisory.is_about(replace(SQL, version="1.2.4-rc.1"), "corp")


def test_a_digest_means_a_file_or_a_whole_brick_wherever_it_comes_from() -> None:
    somewhere = replace(SQL, brick=None, version=None, registry=None)
    for digest in (SQL.digest, SQL.files[1].sha256):
        (advisory,) = read({"id": "X", "summary": "bad", "digests": [f"sha256:{digest}"]})
        assert advisory.is_about(somewhere, "corp")
    (other,) = read({"id": "X", "summary": "bad", "digests": ["sha256:" + "0" * 64]})
    assert not other.is_about(somewhere, "corp")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**ENTRY, "id": "../x"}, "`../x` is no name of an advisory"),
        ({**ENTRY, "summary": "x" * 501}, "has a `summary` that is too long"),
        ({**ENTRY, "url": "http://x"}, "or a `url` that is none"),
        ({**ENTRY, "digests": ["abc"]}, "`abc` is no digest"),
        ({**ENTRY, "versions": "new"}, "`new` is not a range of versions"),
        ({"id": "X", "summary": "bad"}, "advisory X is about nothing"),
        ({**ENTRY, "severity": 9}, "unknown key `severity`"),
        ({**ENTRY, "summary": "\x1b[2J"}, "has a control or invisible character"),
        ("ENTRY", "must be a list of tables"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(entry: object, message: str) -> None:
    with pytest.raises(IntegrityFault) as caught:
        read(entry)
    assert message in caught.value.message


def test_a_newer_format_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="format 2"):
        read(v=2)


@given(st.binary(max_size=100) | st.sampled_from([b"[]", b"{}", b"1", b"null", b"[" * 5000]))
def test_any_bytes_are_advisories_or_a_fault(raw: bytes) -> None:
    with contextlib.suppress(IntegrityFault, Unsupported):
        parse_advisories(raw, file="x")
