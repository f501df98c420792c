from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.document import Table, describe, read_toml, shown
from brickctl.errors import BrickctlError, IntegrityFault, ManifestInvalid


def table(**values: Any) -> Table:
    return Table(values, file="brick.toml", path=("base",))


def test_a_misspelt_key_is_refused_with_the_name_that_was_meant_and_its_line() -> None:
    step = read_toml("[targets.chat]\napply = [\n  { op = 'merge', densty = 0.5 },\n]\n", file="brick.toml")
    targets = step.table_or_none("targets")
    assert targets is not None
    chat = targets.table_or_none("chat")
    assert chat is not None
    (merge,) = chat.tables_or_none("apply") or ()
    merge.string("op")
    merge.number_or_none("density")
    with pytest.raises(ManifestInvalid) as caught:
        merge.finish()
    assert str(caught.value) == (
        "unknown key `densty` in [targets.chat] apply[0]\n  at: brick.toml line 3\nhint: did you mean `density`?"
    )


def test_an_unknown_key_that_resembles_nothing_gets_the_list_of_known_keys() -> None:
    base = table(source="x", zebra=1, yak=2)
    base.string("source")
    base.string_or_none("revision")
    with pytest.raises(ManifestInvalid) as caught:
        base.finish()
    assert caught.value.hint == "known here: `source`, `revision`"
    assert caught.value.causes == ("`yak` is unknown too",)


def test_a_table_whose_keys_were_all_asked_for_is_finished() -> None:
    base = table(source="x")
    base.string("source")
    base.finish()


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("string_or_none", 1, "`key` in [base] must be a string, not an integer"),
        ("string_or_none", None, "`key` in [base] must be a string, not null"),
        ("integer_or_none", True, "`key` in [base] must be an integer, not true or false"),
        ("integer_or_none", 1.0, "`key` in [base] must be an integer, not a number"),
        ("integer_or_none", 2**63, "`key` in [base] is too large"),
        ("number_or_none", False, "`key` in [base] must be a number, not true or false"),
        ("number_or_none", None, "`key` in [base] must be a number, not null"),
        ("number_or_none", math.nan, "`key` in [base] must be a finite number"),
        ("number_or_none", -math.inf, "`key` in [base] must be a finite number"),
        ("number_or_none", 10**400, "`key` in [base] must be a finite number"),
        ("boolean_or_none", 1, "`key` in [base] must be true or false, not an integer"),
        ("strings_or_none", "a", "`key` in [base] must be a list of strings, not a string"),
        ("strings_or_none", ["a", 1], "`key` in [base] must be a list of strings, it contains an integer"),
        ("table_or_none", [], "`key` in [base] must be a table, not a list"),
        ("tables_or_none", [{}, 1], "`key` in [base] must be a list of tables, it contains an integer"),
    ],
)
def test_a_value_of_another_type_is_refused_in_plain_words(method: str, value: Any, message: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        getattr(table(key=value), method)("key")
    assert caught.value.message == message


@pytest.mark.parametrize(
    "method",
    ["string_or_none", "integer_or_none", "number_or_none", "boolean_or_none", "strings_or_none", "table_or_none"],
)
def test_an_absent_key_is_none(method: str) -> None:
    assert getattr(table(), method)("key") is None


def test_a_required_key_that_is_absent_is_named() -> None:
    with pytest.raises(ManifestInvalid, match=r"^`source` in \[base\] is missing"):
        table().string("source")


def test_an_integer_may_stand_where_a_number_is_wanted() -> None:
    assert table(weight=1).number_or_none("weight") == 1.0
    assert isinstance(table(weight=1).number_or_none("weight"), float)


def test_text_that_a_terminal_would_obey_is_refused_and_shown_escaped() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        table(key="\x1b[2J").string("key")
    assert "\x1b" not in str(caught.value)
    assert '"\\u001b[2J"' in str(caught.value)


def test_errors_have_the_type_that_the_reader_chose() -> None:
    with pytest.raises(IntegrityFault):
        Table({"a": 1}, file="index", fault=IntegrityFault).finish()


def test_a_fresh_table_has_been_read_by_nobody() -> None:
    base = table(op="merge", weight=1)
    base.take("op")
    rest = base.without("op")
    assert rest.keys() == ("weight",)
    base.take("weight")
    base.finish()
    with pytest.raises(ManifestInvalid):
        base.fresh().finish()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ((), "the top of the file"),
        (("base",), "[base]"),
        (("bricks", "mail"), "[bricks.mail]"),
        (("checks", 2), "checks[2]"),
        (("targets", "chat", "apply", 0, "bricks", 1), "[targets.chat] apply[0].bricks[1]"),
        (("bricks", "a b"), '[bricks."a b"]'),
    ],
)
def test_tables_are_named_as_people_see_them(path: tuple[str | int, ...], words: str) -> None:
    assert describe(path) == words


def test_a_key_that_stands_twice_is_named_whatever_else_breaks_lines_to_unicode() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        read_toml("a = 1 # \u2028 \x85\n\nb = 2\na = 2\n", file="brick.toml")
    assert caught.value.causes == ("`a` stands twice",)
    assert str(caught.value.place) == "brick.toml line 4"


def test_broken_toml_names_the_line() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        read_toml("[base]\nsource = \n", file="brick.toml")
    assert str(caught.value.place) == "brick.toml line 2"


@pytest.mark.parametrize(
    "text", ["a = " + "9" * 5000, "a = " + "[" * 5000, "a = " + "{a=" * 5000, "\ufeffa = 1", "a = 1\na = 2"]
)
def test_texts_that_break_parsers_are_refused(text: str) -> None:
    with pytest.raises(ManifestInvalid):
        read_toml(text, file="brick.toml")


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers())))
def test_whatever_is_shown_is_short_printable_and_on_one_line(value: Any) -> None:
    assert shown(value).isprintable()
    assert len(shown(value)) <= 80


@given(st.text())
def test_any_text_is_a_table_or_a_fault(text: str) -> None:
    with contextlib.suppress(BrickctlError):
        read_toml(text, file="brick.toml")
