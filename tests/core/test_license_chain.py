from __future__ import annotations

import pytest

from brickctl.core.license_chain import clashes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("MIT", "CC-BY-ND-4.0"),
        ("CC-BY-NC-ND-4.0", "Apache-2.0"),
        ("GPL-3.0-only", "CC-BY-NC-4.0"),
        ("CC-BY-SA-4.0", "CC-BY-NC-4.0"),
        ("AGPL-3.0-or-later", "LicenseRef-llama3.1"),
        ("GPL-3.0-only", "LicenseRef-openrail-plus-plus"),
        ("GPL-3.0-only", "LicenseRef-gemma"),
        ("GPL-2.0-only", "Apache-2.0"),
        ("GPL-2.0-only", "GPL-3.0-or-later"),
        ("CC-BY-SA-4.0", "GPL-2.0-only"),
        ("CC-BY-SA-3.0", "GPL-3.0-only"),
        ("CC-BY-NC-SA-4.0", "CC-BY-SA-4.0"),
        ("MIT AND GPL-3.0-only", "Apache-2.0 AND CC-BY-NC-4.0"),
        ("GPL-2.0-only OR CC-BY-ND-4.0", "Apache-2.0"),
    ],
)
def test_licences_that_cannot_both_be_kept_clash_whichever_comes_first(one: str, other: str) -> None:
    (clash,) = clashes({"a": one, "b": other})
    (back,) = clashes({"a": other, "b": one})
    assert (clash.first, clash.second) == (back.first, back.second) == ("a", "b")
    assert clash.reason == back.reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("MIT", "Apache-2.0"),
        ("MIT", "GPL-3.0-only"),
        ("GPL-3.0-only", "Apache-2.0"),
        ("GPL-2.0-or-later", "Apache-2.0"),
        ("CC-BY-SA-4.0", "GPL-3.0-only"),
        ("CC-BY-SA-4.0", "CC-BY-SA-4.0"),
        ("CC-BY-NC-4.0", "LicenseRef-llama3.1"),
        ("CC-BY-NC-SA-4.0", "MIT"),
        ("GPL-2.0-only OR MIT", "Apache-2.0"),
        ("unknown", "GPL-3.0-only"),
    ],
)
def test_licences_that_can_both_be_kept_do_not_clash(one: str, other: str) -> None:
    assert clashes({"a": one, "b": other}) == ()
    assert clashes({"a": other, "b": one}) == ()


def test_a_model_alone_may_be_under_anything() -> None:
    assert clashes({"base": "CC-BY-ND-4.0"}) == ()
    assert clashes({}) == ()


def test_a_choice_is_made_for_all_bricks_at_once() -> None:
    free = {"a": "GPL-2.0-only OR CC-BY-NC-4.0", "b": "Apache-2.0", "c": "MIT"}
    assert clashes(free) == ()
    (clash,) = clashes({**free, "c": "GPL-3.0-only"})
    assert {clash.first, clash.second} <= {"a", "b", "c"}


def test_a_choice_is_found_among_many() -> None:
    many = {f"b{at}": "MIT OR ISC" for at in range(40)}
    assert clashes({"aa": "GPL-2.0-only OR MIT", **many, "zz": "Apache-2.0"}) == ()
    hostile = "(" + ") AND (".join(["GPL-3.0-only OR CC-BY-NC-4.0"] * 6) + ")"
    assert clashes({**{f"h{at}": hostile for at in range(30)}, "x": "CC-BY-ND-4.0"})
