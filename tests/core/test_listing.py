from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.digests import Sha256
from brickctl.core.listing import Listing, encode_listing, listing_of, parse_listing
from brickctl.core.made_for import MadeFor
from brickctl.errors import IntegrityFault, Unsupported
from tests.sources.bricks import model
from tests.sources.registries import entry

if TYPE_CHECKING:
    from brickctl.core.registry_line import RegistryEntry

SQL = Listing(
    name="acme/sql",
    version="1.2.0",
    kind="adapter",
    license="Apache-2.0",
    summary="Writes SQL",
    tags=("sql", "code"),
    base_source="hf:acme/base",
    base_interface=Sha256("a" * 64),
    published="2026-11-20T00:00:00Z",
)


def parsed(raw: bytes) -> Listing:
    return parse_listing(raw, file="snapshot", line=7)


def test_a_line_is_canonical_json_with_a_version_and_nothing_that_is_not_known() -> None:
    bare = replace(SQL, summary="", tags=(), base_source=None, base_interface=None, published=None)
    assert encode_listing(bare) == (
        b'{"kind":"adapter","license":"Apache-2.0","name":"acme/sql","summary":"","tags":[],"v":1,"version":"1.2.0"}\n'
    )
    assert parsed(encode_listing(bare)) == bare


@given(
    summary=st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    tags=st.lists(st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True), max_size=20).map(tuple),
    published=st.none() | st.just("2026-01-01T00:00:00Z"),
    source=st.none() | st.sampled_from(["hf:acme/base", "hf:gpt2", "index:acme/base/1.0.0-rc.1"]),
)
def test_reading_undoes_writing(summary: str, tags: tuple[str, ...], published: str | None, source: str | None) -> None:
    interface = None if source is None else Sha256("b" * 64)
    listing = replace(
        SQL, summary=summary, tags=tags, published=published, base_source=source, base_interface=interface
    )
    assert parsed(encode_listing(listing)) == listing


CHANGES: dict[str, dict[str, Any]] = {
    "a name that is none": {"name": "../sql"},
    "a version that is none": {"version": "1"},
    "a kind that is none": {"kind": "An Adapter"},
    "a licence that is none": {"license": "apache"},
    "a summary that is too long": {"summary": "x" * 301},
    "a summary that is none": {"summary": None},
    "a tag that is none": {"tags": ["SQL"]},
    "too many tags": {"tags": ["x"] * 21},
    "tags that are none": {"tags": "sql"},
    "a base without an interface": {"base": {"source": "hf:acme/base"}},
    "a base in a folder": {"base": {"source": "path:base", "interface": f"sha256:{'a' * 64}"}},
    "an interface that is none": {"base": {"source": "hf:acme/base", "interface": "sha256:a"}},
    "a time that is none": {"published": "yesterday"},
    "no version of the format": {"v": 0},
    "true for a version of the format": {"v": True},
    "a key that is unknown": {"colour": "red"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_line_that_cannot_be_is_refused_with_its_place(change: str) -> None:
    document = {**json.loads(encode_listing(SQL)), **CHANGES[change]}
    raw = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    with pytest.raises(IntegrityFault, match="snapshot line 7"):
        parsed(raw)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\n", b"[]\n", b"{}\n", b'{"v":1}', b"[" * 10_000, b"\xff\n", b'{"v":NaN}\n', b" " * 20_000],
)
def test_what_is_no_line_is_refused(raw: bytes) -> None:
    with pytest.raises(IntegrityFault):
        parsed(raw)


def test_half_of_a_surrogate_pair_is_refused() -> None:
    raw = encode_listing(SQL).replace(b"Writes SQL", b"Writes \\ud800")
    with pytest.raises(IntegrityFault):
        parsed(raw)


def test_a_key_that_is_missing_or_twice_or_out_of_order_is_refused() -> None:
    raw = encode_listing(SQL)
    for changed in (
        raw.replace(b'"kind":"adapter",', b""),
        raw.replace(b'"kind":"adapter",', b'"kind":"adapter","kind":"adapter",'),
        raw.replace(b'"v":1,"version":"1.2.0"', b'"version":"1.2.0","v":1'),
        raw.replace(b'"v":1', b'"v": 1'),
    ):
        assert changed != raw
        with pytest.raises(IntegrityFault):
            parsed(changed)


def test_a_newer_format_is_told_apart() -> None:
    with pytest.raises(Unsupported, match="format 2"):
        parsed(encode_listing(SQL).replace(b'"v":1', b'"v":2'))


def versions(*texts: str) -> list[RegistryEntry]:
    return [entry(text.removesuffix("!"), model(), yanked=text.endswith("!")) for text in texts]


@pytest.mark.parametrize(
    ("published", "chosen"),
    [
        (("1.0.0", "1.10.0", "1.9.0"), "1.10.0"),
        (("1.0.0", "2.0.0!"), "1.0.0"),
        (("1.0.0", "2.0.0-rc.1"), "1.0.0"),
        (("2.0.0-rc.1", "2.0.0-beta"), "2.0.0-rc.1"),
    ],
)
def test_the_newest_release_that_is_not_yanked_is_shown(published: tuple[str, ...], chosen: str) -> None:
    listing = listing_of(versions(*published))
    assert listing is not None
    assert listing.version == chosen


def test_a_brick_of_which_all_was_yanked_is_not_shown() -> None:
    assert listing_of(versions("1.0.0!", "2.0.0!")) is None


def test_a_listing_has_what_the_line_of_its_version_has() -> None:
    base = MadeFor(source="hf:acme/base", interface=Sha256("c" * 64), commit="d" * 40)
    line = replace(versions("1.0.0")[0], base=base, summary="Writes SQL", tags=("sql",))
    listing = listing_of([line])
    assert listing is not None
    assert (listing.base_source, listing.base_interface) == ("hf:acme/base", "c" * 64)
    assert (listing.summary, listing.tags, listing.license) == ("Writes SQL", ("sql",), "MIT")
