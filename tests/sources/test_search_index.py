from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from brickctl.core.digests import Sha256
from brickctl.core.listing import Listing
from brickctl.errors import IntegrityFault
from brickctl.sources import search_index
from brickctl.sources.search_index import Query, SearchIndex, matches, search_these

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INTERFACE, OTHER = Sha256("a" * 64), Sha256("b" * 64)


def brick(name: str, summary: str = "", *tags: str, kind: str = "adapter", **base: str) -> Listing:
    interface = Sha256(base["interface"]) if "interface" in base else OTHER
    source = base.get("source")
    return Listing(
        name=name,
        version="1.0.0",
        kind=kind,
        license="MIT",
        summary=summary,
        tags=tags,
        base_source=source,
        base_interface=None if source is None else interface,
    )


BRICKS = [
    brick("acme/legal", "Contracts and SQL", source="hf:acme/base", interface=INTERFACE),
    brick("acme/query", "Writes queries", "sql", source="index:acme/base/1.0.0"),
    brick("acme/sqlite", "Knows a database", source="index:acme/base/2.0.0"),
    brick("beta/sql", "Something else", kind="expert", source="hf:beta/base", interface=INTERFACE),
    brick("sql/tool", "Übersetzt fließend", "tool"),
    brick("zeta/sql", "Something else", source="index:acme/based/1.0.0"),
]


def names(text: str = "", **others: object) -> list[str]:
    return [listing.name for listing in search_these(BRICKS, Query(text=text, **others))]  # type: ignore[arg-type]


def test_without_words_all_bricks_come_by_name() -> None:
    assert names() == [one.name for one in BRICKS]
    assert names(limit=2) == ["acme/legal", "acme/query"]


def test_exact_names_come_first_then_whole_words_then_begun_ones_then_summaries() -> None:
    others = [brick(f"zzz/other-{number:03d}", "of no use") for number in range(100)]
    found = search_these([*BRICKS, *others], Query(text="sql"))
    expected = ["beta/sql", "zeta/sql", "sql/tool", "acme/query", "acme/sqlite", "acme/legal"]
    assert [one.name for one in found] == expected
    assert names("zeta/sql") == ["zeta/sql"]
    assert names("SQL", limit=1) == ["beta/sql"]


def test_each_word_must_begin_a_word() -> None:
    assert set(names("sq")) == set(names("sql"))
    assert names("quer") == ["acme/query"]
    assert names("writes sql") == ["acme/query"]
    assert names("uery") == []
    assert names("writes contracts") == []


def test_letters_are_told_apart_neither_by_case_nor_by_accents() -> None:
    assert names("ubersetzt") == names("ÜBERSETZT") == ["sql/tool"]


def test_kind_and_base_narrow_the_search() -> None:
    assert names("sql", kind="expert") == names(kind="expert") == ["beta/sql"]
    assert names(base_source="hf:acme/base") == ["acme/legal"]
    assert names(base_source="index:acme/base/") == ["acme/query", "acme/sqlite"]
    assert names(base_source="index:acme/base/1.0.0") == ["acme/query"]
    assert names(base_source="hf:nobody/base", base_interface=INTERFACE) == ["acme/legal", "beta/sql"]
    assert names("sql", kind="adapter", base_source="hf:nobody/base", base_interface=INTERFACE) == ["acme/legal"]
    assert names("beta/sql", kind="adapter") == []


SIGNS = (
    '"',
    '""',
    'sql"',
    "sql OR",
    "NEAR(sql)",
    "name:",
    "*",
    "^",
    "- ",
    "(",
    "{name}",
    "\0",
    "sql\0x",
    "\ud800",
    "sql \ud800",
)
LONG = ("x" * 100_000, "sql " * 10_000, "'; DROP TABLE bricks; --", "💥")


@pytest.mark.parametrize("text", [*SIGNS, *LONG])
def test_words_are_never_taken_for_a_language(text: str) -> None:
    assert isinstance(names(text), list)
    assert len(names()) == len(BRICKS)


def test_nothing_but_signs_finds_nothing() -> None:
    assert names("--- !!!") == []


def test_equally_good_bricks_come_in_the_order_of_their_names() -> None:
    same = [brick(f"acme/same-{number:03d}", "one and the same") for number in range(100)]
    found = search_these(same, Query(text="same", limit=100))
    assert [one.name for one in found] == [one.name for one in same]


def test_an_index_is_kept_until_it_is_made_anew(tmp_path: Path) -> None:
    index = SearchIndex(tmp_path, "https://bricks.example")
    assert index.tag() is None
    index.make(BRICKS, "one")
    assert SearchIndex(tmp_path, "https://bricks.example").tag() == "one"
    assert SearchIndex(tmp_path, "https://other.example").tag() is None
    assert index.search(Query(text="legal")) == (BRICKS[0],)
    index.make(BRICKS[1:], "two")
    assert index.search(Query(text="legal")) == ()
    assert index.tag() == "two"


def test_the_old_index_stays_where_the_new_one_is_unsound(tmp_path: Path) -> None:
    index = SearchIndex(tmp_path, "https://bricks.example")
    index.make(BRICKS, "one")

    def unsound() -> Iterator[Listing]:
        yield BRICKS[0]
        raise IntegrityFault("a line is wrong")

    with pytest.raises(IntegrityFault):
        index.make(unsound(), "two")
    assert index.tag() == "one"
    assert len(index.search(Query())) == len(BRICKS)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(4096)])
def test_what_is_no_index_is_none(content: bytes, tmp_path: Path) -> None:
    index = SearchIndex(tmp_path, "https://bricks.example")
    index.make(BRICKS, "one")
    index.place.write_bytes(content)
    assert index.tag() is None


def test_an_index_of_another_format_is_none(tmp_path: Path) -> None:
    index = SearchIndex(tmp_path, "https://bricks.example")
    index.make(BRICKS, "one")
    with sqlite3.connect(index.place) as base:
        base.execute("UPDATE about SET format = 99")
    base.close()
    assert index.tag() is None


def found(text: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(match.listing.name, match.words) for match in matches(BRICKS, Query(text=text))]


def test_where_any_word_is_enough_words_that_nothing_has_count_for_nothing() -> None:
    assert names("contracts nowhere", any_word=True) == ["acme/legal"]
    assert names("nowhere", any_word=True) == []
    assert names("-", any_word=True) == []


def test_where_any_word_is_enough_rare_words_count_more() -> None:
    others = [brick(f"zzz/other-{number:03d}", "Knows something of use") for number in range(50)]
    ranked = search_these([*BRICKS, *others], Query(text="something database", any_word=True, limit=100))
    assert ranked[0].name == "acme/sqlite"
    assert len(ranked) == 53


def test_where_any_word_is_enough_a_common_one_takes_no_place_of_a_rare_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_index, "_MOST_RANKED", 10)
    others = [brick(f"aaa/other-{number:03d}", "Knows something of use") for number in range(50)]
    assert [one.name for one in search_these([*others, *BRICKS], Query(text="something database", any_word=True))] == [
        "acme/sqlite"
    ]
    only = search_these([*others, *BRICKS], Query(text="something", any_word=True))
    assert len(only) == 10


def test_where_any_word_is_enough_short_ones_are_whole_and_endings_do_not_count() -> None:
    assert names("da", any_word=True) == []
    assert names("da") == ["acme/sqlite"]
    assert names("databases", any_word=True) == ["acme/sqlite"]
    assert names("querying", any_word=True) == ["acme/query"]


def test_where_any_word_is_enough_all_else_must_hold_still() -> None:
    assert names("something sql", any_word=True, kind="expert") == ["beta/sql"]


def test_a_match_tells_its_words() -> None:
    assert dict(found("writes sql database nowhere")) == {
        "acme/query": ("writes", "sql"),
        "acme/sqlite": ("database",),
        "acme/legal": ("sql",),
        "beta/sql": ("sql",),
        "sql/tool": ("sql",),
        "zeta/sql": ("sql",),
    }
    assert found("writes sql database")[0][0] == "acme/query"
