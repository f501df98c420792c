from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.versions import Version, VersionRange, newest, parse_version
from brickctl.errors import BrickctlError, UsageFault


def version(text: str) -> Version:
    parsed = parse_version(text)
    assert parsed is not None, text
    return parsed


def contains(wanted: str, text: str) -> bool:
    return VersionRange.parse(wanted).contains(version(text))


def test_versions_are_ordered_as_semver_says() -> None:
    before = [
        "0.0.9",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
    ]
    texts = [*before, "1.0.0", "1.0.1", "1.2.0", "1.10.0"]
    assert [str(found) for found in sorted(version(text) for text in reversed(texts))] == texts


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3 ", "1.2.\u0663", "9" * 30 + ".0.0"],
)
def test_what_is_not_a_full_version_is_none(text: str) -> None:
    assert parse_version(text) is None


@pytest.mark.parametrize(
    ("wanted", "inside", "outside"),
    [
        ("1.2.3", "1.2.3 1.2.4 1.9.0", "1.2.2 2.0.0 0.9.9"),
        ("^1.2", "1.2.0 1.9.9", "1.1.9 2.0.0"),
        ("^1", "1.0.0 1.9.9", "0.9.9 2.0.0"),
        ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0"),
        ("^0.0.3", "0.0.3", "0.0.2 0.0.4"),
        ("^0.0", "0.0.0 0.0.9", "0.1.0"),
        ("^0", "0.0.0 0.9.9", "1.0.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
        ("~1.2", "1.2.0 1.2.9", "1.1.9 1.3.0"),
        ("~1", "1.0.0 1.9.9", "0.9.9 2.0.0"),
        ("~0.0.3", "0.0.3 0.0.9", "0.0.2 0.1.0"),
        ("*", "0.0.0 1.2.3 99.0.0", ""),
        ("1.*", "1.0.0 1.9.9", "0.9.9 2.0.0"),
        ("1.2.*", "1.2.0 1.2.9", "1.1.9 1.3.0"),
        ("0.*", "0.0.1 0.9.0", "1.0.0"),
        ("=1.2.3", "1.2.3 1.2.3+build", "1.2.2 1.2.4"),
        ("=1.2", "1.2.0 1.2.9", "1.1.9 1.3.0"),
        (">1.2", "1.3.0 2.0.0", "1.2.0 1.2.9"),
        (">1.2.3", "1.2.4 2.0.0", "1.2.3 1.2.2"),
        (">=1.2", "1.2.0 2.0.0", "1.1.9"),
        ("<2", "1.9.9 0.0.0", "2.0.0"),
        ("<=1.2", "1.2.9 1.0.0", "1.3.0"),
        (">=1.2, <1.5", "1.2.0 1.4.9", "1.1.9 1.5.0"),
        (">= 1.2,<1.5", "1.2.0 1.4.9", "1.1.9 1.5.0"),
    ],
)
def test_ranges_mean_what_cargo_says(wanted: str, inside: str, outside: str) -> None:
    assert [text for text in inside.split() if not contains(wanted, text)] == []
    assert [text for text in outside.split() if contains(wanted, text)] == []


@pytest.mark.parametrize(
    ("wanted", "inside", "outside"),
    [
        ("*", "", "1.0.0-a"),
        ("<2.0.0", "", "2.0.0-a 1.0.0-a"),
        ("^1.2.3-beta.2", "1.2.3-beta.2 1.2.3-beta.11 1.2.3 1.9.0", "1.2.3-beta.1 1.2.4-beta.2 2.0.0"),
        ("=1.2.3-rc.1", "1.2.3-rc.1", "1.2.3 1.2.3-rc.2"),
        (">=1.2.3-a, <2", "1.2.3-b 1.5.0", "1.5.0-a 2.0.0"),
        ("<1.2.3-b", "1.2.3-a 1.2.2", "1.2.3-b 1.2.3"),
    ],
)
def test_pre_releases_match_only_where_one_of_the_same_numbers_is_named(wanted: str, inside: str, outside: str) -> None:
    assert [text for text in inside.split() if not contains(wanted, text)] == []
    assert [text for text in outside.split() if contains(wanted, text)] == []


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("1", "^1"),
        ("^1.2", "^1.2"),
        (">= 1 ,<2", ">=1, <2"),
        ("1.x", "1.*"),
        ("1.2.X", "1.2.*"),
        (" * ", "*"),
        ("1.2.3-a+b", "^1.2.3-a"),
    ],
)
def test_the_normal_form_has_the_caret_and_no_stray_spaces(text: str, normal: str) -> None:
    assert str(VersionRange.parse(text)) == normal


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "a part of it is empty"),
        ("1,", "a part of it is empty"),
        ("01.2", "`01.2` has a number that begins with 0"),
        (">=1 <2", "`>=1 <2` is more than one part; parts are separated by commas"),
        ("^1, latest", "`latest` cannot be read"),
    ],
)
def test_a_refused_range_says_which_part_is_wrong(text: str, cause: str) -> None:
    with pytest.raises(UsageFault) as caught:
        VersionRange.parse(text)
    assert caught.value.causes == (cause,)
    assert caught.value.hint == "ranges look like `^1.2`, `~1.2`, `1.*`, `=1.2.3` or `>=1.2, <2`"


@pytest.mark.parametrize(
    "text", ["latest", "==1", "1.*.3", "*.1", "1.2-a", "1.*-a", "^", "1.2.3.4", "||", "1 - 2", "1" * 300]
)
def test_what_cargo_refuses_is_refused(text: str) -> None:
    with pytest.raises(UsageFault):
        VersionRange.parse(text)


def test_the_newest_version_in_the_range_is_chosen() -> None:
    versions = [version(text) for text in ("1.9.0", "1.10.0", "2.0.0", "1.11.0-beta")]
    assert str(newest(versions, VersionRange.parse("^1.2"))) == "1.10.0"
    assert str(newest(versions)) == "2.0.0"
    assert newest(versions, VersionRange.parse("^3")) is None
    assert newest([]) is None


numbers = st.integers(0, 3)
versions = st.builds(Version, numbers, numbers, numbers, st.sampled_from([(), ("a",), ("a", "1"), ("2",)]))


@given(versions)
def test_a_version_reads_back_from_its_text(found: Version) -> None:
    assert parse_version(str(found)) == found


@given(versions, versions)
def test_exactly_one_of_less_equal_greater_holds(left: Version, right: Version) -> None:
    assert (left < right) + (left == right) + (left > right) == 1


@given(versions, versions)
def test_comparisons_without_pre_releases_agree_with_the_order(bound: Version, found: Version) -> None:
    bound, found = Version(*bound.release), Version(*found.release)
    assert contains(f">{bound}", str(found)) == (found > bound)
    assert contains(f">={bound}", str(found)) == (found >= bound)
    assert contains(f"<{bound}", str(found)) == (found < bound)
    assert contains(f"<={bound}", str(found)) == (found <= bound)
    assert contains(f"={bound}", str(found)) == (found == bound)
    assert contains(f"^{bound}", str(bound))
    assert contains(f"~{bound}", str(bound))


@given(st.text(alphabet="0123456789.*xX^~<>=, -+ab", max_size=20))
def test_any_text_is_a_range_with_a_stable_normal_form_or_a_fault(text: str) -> None:
    try:
        wanted = VersionRange.parse(text)
    except BrickctlError:
        return
    assert VersionRange.parse(str(wanted)) == wanted
