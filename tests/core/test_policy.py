from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from brickctl.core.licenses import satisfies
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.policy import Policy, parse_moment
from brickctl.errors import ManifestInvalid

SMALL = '[project]\nname = "x"\n[base]\nsource = "hf:acme/base"\n[policy]\n'
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def policy(text: str) -> Policy:
    return parse_manifest(SMALL + text).policy


def test_without_rules_everything_goes() -> None:
    free = parse_manifest(SMALL.replace("[policy]\n", "")).policy
    assert free == Policy()
    assert free.allows_license("sql", "LicenseRef-anything")
    assert free.allows_source("sql", "hf:anyone/thing")
    assert free.newest("sql", NOW) is None


@pytest.mark.parametrize(
    ("text", "newest"),
    [
        ('"2026-11-01T10:00:00Z"', datetime(2026, 11, 1, 10, tzinfo=UTC)),
        ('"2026-11-01T10:00:00+02:00"', datetime(2026, 11, 1, 8, tzinfo=UTC)),
        ("2026-11-01T10:00:00Z", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ('"2026-11-01"', datetime(2026, 11, 1, tzinfo=UTC)),
        ('"7 days"', NOW - timedelta(days=7)),
        ('"1 week"', NOW - timedelta(days=7)),
        ('"36 hours"', NOW - timedelta(hours=36)),
    ],
)
def test_a_cutoff_is_a_moment_or_an_age(text: str, newest: datetime) -> None:
    assert policy(f"exclude-newer = {text}\n").newest("sql", NOW) == newest


def test_exceptions_hold_for_one_brick_and_one_rule() -> None:
    rules = policy(
        'exclude-newer = "7 days"\nlicenses = ["MIT"]\nsources = ["hf:acme/*"]\n'
        '[policy.exceptions]\nnew = { exclude-newer = false }\n"corp:acme/x" = { licenses = ["CC-BY-NC-4.0"] }\n'
        'mine = { sources = ["path:*"] }\n'
    )
    assert rules.newest("new", NOW) is None
    assert rules.newest("mine", NOW) is not None
    assert rules.allows_license("corp:acme/x", "CC-BY-NC-4.0")
    assert not rules.allows_license("mine", "CC-BY-NC-4.0")
    assert rules.allows_source("mine", "path:bricks/mine")
    assert not rules.allows_source("new", "path:bricks/mine")
    assert rules.allows_source("new", "hf:acme/legal/checkpoint-300")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('exclude-newer = "soon"', "`soon` says no moment"),
        ('exclude-newer = "0 days"', "`0 days` says no moment"),
        ("exclude-newer = 7", "`7` says no moment"),
        ('exclude-newer = "999999 days"', "`999999 days` says no moment"),
        ('licenses = ["Free"]', "`Free` is no licence that SPDX knows"),
        ('licenses = ["MIT OR Apache-2.0"]', "`MIT OR Apache-2.0` is no licence that SPDX knows"),
        ('licenses = "MIT"', "`licenses` in [policy] must be a list of strings"),
        ('sources = ["acme/*"]', "`acme/*` is no pattern of sources"),
        ("exceptions.sql = { exclude-newer = true }", "`exclude-newer` of an exception can only be false"),
        ('exceptions.sql = { base = "fits" }', "unknown key `base` in [policy.exceptions.sql]"),
        ('license = ["MIT"]', "unknown key `license` in [policy]"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        policy(f"{text}\n")
    assert caught.value.message.startswith(message)
    assert caught.value.place is not None
    assert caught.value.place.line == 6


@pytest.mark.parametrize("where", ["project", "top"])
def test_a_cutoff_elsewhere_is_told_where_it_belongs(where: str) -> None:
    line = 'exclude-newer = "7 days"\n'
    text = line + SMALL if where == "top" else SMALL.replace('name = "x"\n', f'name = "x"\n{line}')
    with pytest.raises(ManifestInvalid, match=r"`exclude-newer` belongs in \[policy\]"):
        parse_manifest(text)


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(GPL-3.0-only OR MIT) AND (MIT OR GPL-2.0-only)", True),
        ("MIT WITH Classpath-exception-2.0", False),
        ("LicenseRef-llama3.1 OR MIT", True),
        ("unknown", False),
    ],
)
def test_an_expression_holds_where_one_choice_is_allowed(expression: str, *, holds: bool) -> None:
    assert satisfies(expression, ["MIT"]) is holds
    assert satisfies(expression, [expression]) or " OR " in expression or " AND " in expression


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "99999-01-01", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_moment_is_none(text: str) -> None:
    assert parse_moment(text) is None
