from __future__ import annotations

from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.manifest_edit import add_brick, remove_brick
from brickctl.core.manifest_format import parse_manifest
from brickctl.errors import ManifestInvalid, NotFound

EXAMPLE = (Path(__file__).parent / "brick.toml").read_text(encoding="utf-8")


def lines_between(old: str, new: str) -> tuple[list[str], list[str]]:
    """Lines that went and lines that came; every other line is the same, bytes and order."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    head = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
    head = min(len(before), len(after)) if head is None else head
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return before[head : len(before) - tail], after[head : len(after) - tail]


def test_a_brick_is_added_behind_the_others_and_nothing_else_moves() -> None:
    edited = add_brick(EXAMPLE, "mail2", "acme/mail@^1")
    assert lines_between(EXAMPLE, edited) == ([], ['mail2 = "acme/mail@^1"\n'])
    assert list(parse_manifest(edited).bricks) == ["sql", "legal", "coder", "date", "mail2", "mail"]


def test_a_brick_with_several_keys_is_one_inline_table() -> None:
    edited = add_brick(EXAMPLE, "law", {"source": "hf:acme/law", "revision": "v2"})
    assert lines_between(EXAMPLE, edited)[1] == ['law = { source = "hf:acme/law", revision = "v2" }\n']


def test_a_file_without_bricks_gets_a_section() -> None:
    assert add_brick("[base]\nsource = 'x'", "sql", "acme/sql") == (
        "[base]\nsource = 'x'\n\n[bricks]\nsql = \"acme/sql\"\n"
    )
    assert add_brick("", "sql", "acme/sql") == '[bricks]\nsql = "acme/sql"\n'


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("[bricks]\n# none yet\n\n[base]\n", '[bricks]\n# none yet\nsql = "a/b"\n\n[base]\n'),
        ("[bricks]", '[bricks]\nsql = "a/b"\n'),
        ("[bricks]\nx = 'a/b' # why", "[bricks]\nx = 'a/b' # why\nsql = \"a/b\"\n"),
        ("[bricks.x]\nbrick = 'a/b'\n", "[bricks]\nsql = \"a/b\"\n\n[bricks.x]\nbrick = 'a/b'\n"),
        ("[bricks]\r\nx = 'a/b'\r\n\r\n[base]\r\n", "[bricks]\r\nx = 'a/b'\r\nsql = \"a/b\"\r\n\r\n[base]\r\n"),
        (
            "[bricks]\nx = 'a/b'\n[base]\n[bricks.y]\nbrick = 'a/b'\n",
            "[bricks]\nx = 'a/b'\nsql = \"a/b\"\n[base]\n[bricks.y]\nbrick = 'a/b'\n",
        ),
    ],
)
def test_a_brick_is_added_however_the_section_is_written(text: str, edited: str) -> None:
    assert add_brick(text, "sql", "a/b") == edited


def test_a_name_that_is_taken_is_refused_with_its_line() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        add_brick(EXAMPLE, "mail", "acme/mail")
    assert caught.value.message == "`mail` is in [bricks] already"
    assert str(caught.value.place) == "brick.toml line 19"


def test_an_entry_is_removed_with_the_comment_on_its_line() -> None:
    gone, came = lines_between(EXAMPLE, remove_brick(EXAMPLE, "sql"))
    assert gone == ['sql = "acme/sql@^1.2"                      # NAMESPACE/NAME@RANGE, in the default registry\n']
    assert came == []


def test_a_section_is_removed_whole() -> None:
    edited = remove_brick(EXAMPLE, "mail")
    gone, came = lines_between(EXAMPLE, edited)
    assert len(gone) == 5
    assert came == []
    assert list(parse_manifest(edited).bricks) == ["sql", "legal", "coder", "date"]


def test_comments_about_what_follows_a_section_are_kept() -> None:
    text = "[bricks.mail]\nbrick = 'a/b'\n# of mail\n\n# about targets\n[targets.x]\n"
    assert remove_brick(text, "mail") == "# about targets\n[targets.x]\n"


def test_an_inline_section_loses_its_entry_only() -> None:
    assert remove_brick("bricks = {a = 'x/y', b = 'x/y'}\n[base]\n", "a") == "bricks = { b = 'x/y'}\n[base]\n"


def test_a_brick_that_is_not_there_gets_the_name_that_was_meant() -> None:
    with pytest.raises(NotFound) as caught:
        remove_brick(EXAMPLE, "leagl")
    assert caught.value.message == "there is no brick `leagl` in [bricks]"
    assert caught.value.hint == "did you mean `legal`?"


def test_a_derived_brick_is_not_removed_and_the_hint_says_where_it_stands() -> None:
    with pytest.raises(NotFound) as caught:
        remove_brick('[bricks]\n[derived.sums]\nop = "split"\n', "sums")
    assert caught.value.hint == "it is derived: delete [derived.sums]"


sections = st.sampled_from(
    [
        "[base]\nsource = 'hf:a/b' # base\n",
        "[bricks]   # these\nx = 'a/b' # one\ny = { source = \"path:y\" }\n",
        "[bricks]\n",
        "[bricks.z] # a section\nbrick = 'a/b'\n# its end\n\n# of the next\n",
        "\n# loose\n\n",
        '[targets.t]\napply = [\n  { op = "merge" }, # first\n]\n',
        "[[checks]]\nname = '''\n[bricks]\n'''\n",
    ]
)


@given(st.lists(sections, unique=True, max_size=6).map("".join))
def test_adding_changes_nothing_else_and_removing_takes_it_back(text: str) -> None:
    try:
        before = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    added = add_brick(text, "new", {"source": "hf:a/b"})
    gone, came = lines_between(text, added)
    assert gone == []
    assert 'new = { source = "hf:a/b" }\n' in came
    assert tomli.loads(added) == {**before, "bricks": {**before.get("bricks", {}), "new": {"source": "hf:a/b"}}}
    removed = tomli.loads(remove_brick(added, "new"))
    assert {"bricks": {}, **removed} == {"bricks": {}, **before}


@given(st.lists(sections, unique=True, max_size=6).map("".join), st.sampled_from("xyz"))
def test_removing_keeps_every_comment_of_other_lines(text: str, alias: str) -> None:
    try:
        before = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    if alias not in before.get("bricks", {}):
        return
    removed = remove_brick(text, alias)
    assert alias not in tomli.loads(removed).get("bricks", {})
    kept = [comment for comment in ("# base", "# loose", "# of the next", "# first") if comment in text]
    assert [comment for comment in kept if comment not in removed] == []


SCATTERED = """\
[project]
name = "a"

[base]
source = "path:base"

[bricks]
x = "a/b@1"                # the first one

# about targets
[targets.one]
apply = []

# about checks
[[checks]]
name = "c"

[targets.two]
apply = []

[[checks]]
name = "d"
"""


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_tables_stay_where_they_are_though_checks_stand_behind_targets(ends: str) -> None:
    text = SCATTERED.replace("\n", ends)
    added = add_brick(text, "y", {"source": "path:y"})
    line = f'y = {{ source = "path:y" }}{ends}'
    assert added == text.replace(f"# the first one{ends}", f"# the first one{ends}{line}")
    assert remove_brick(added, "y") == text


def test_what_only_looks_like_a_section_is_not_edited() -> None:
    text = SCATTERED.replace("[project]\n", '[project]\ndescription = """\n[bricks]\nz = 1\n"""\n')
    with pytest.raises(ManifestInvalid):
        add_brick(text, "y", "a/c@1")
