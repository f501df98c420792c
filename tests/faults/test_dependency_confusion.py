"""A name of a private registry that somebody publishes in a public one: never taken from there unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sources.registries import entry, publish
from tests.sources.static_server import StaticServer
from tests.support import sandbox as bricks
from tests.support import stages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sandbox import Sandbox

OURS, THEIRS = bricks.model(fill=3), bricks.model(fill=66)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    stages.take_no_pauses(monkeypatch)


@pytest.fixture
def corp(empty: Sandbox) -> Iterator[StaticServer]:
    """The private registry; it has `acme/mail` alone."""
    publish(empty.root / "corp", entry("1.0.0", OURS, name="acme/mail"), files=OURS)
    with StaticServer(empty.root / "corp") as server:
        yield server


@pytest.fixture
def public(empty: Sandbox) -> Iterator[StaticServer]:
    """The public registry; it has newer versions of everything."""
    for name in ("acme/mail", "acme/sql"):
        publish(empty.root / "public", entry("1.9.0", THEIRS, name=name), files=THEIRS)
    with StaticServer(empty.root / "public") as server:
        yield server


def lay(sandbox: Sandbox, corp: StaticServer, public: StaticServer, brick: str, *, default: str = '"corp"') -> None:
    sandbox.write(bricks.model(), "base")
    text = (
        f'[project]\nname = "support"\ndefault-registry = {default}\n\n[registries]\ncorp = "{corp.url}"\n'
        f'public = "{public.url}"\n\n[base]\nsource = "path:base"\n\n[bricks]\n{brick}\n'
    )
    sandbox.write({"brick.toml": text})


def asked(server: StaticServer) -> list[str]:
    return [path for path, _, _ in server.requests]


def test_a_name_is_asked_for_in_its_registry_alone(empty: Sandbox, corp: StaticServer, public: StaticServer) -> None:
    lay(empty, corp, public, 'sql = "acme/sql@^1"')
    outcome = empty.run("lock")
    assert outcome.code == 1
    assert "registry `corp` has no brick `acme/sql`" in outcome.err
    assert asked(public) == []


LISTS = {
    "for all": ('sql = "acme/sql@^1"', '["corp", "public"]'),
    "for one": ('sql = { brick = "acme/sql", version = "^1", registry = ["corp", "public"] }', '"corp"'),
}


@pytest.mark.parametrize("where", LISTS)
def test_the_next_registry_is_asked_where_the_manifest_says_so(
    where: str, empty: Sandbox, corp: StaticServer, public: StaticServer
) -> None:
    brick, default = LISTS[where]
    lay(empty, corp, public, brick, default=default)
    assert empty.run("lock").code == 0
    assert 'registry = "public"' in empty.lock
    assert 'registry = "corp, public"' in empty.lock
    assert "acme/sql in public" in empty.run("list").out
    assert empty.run("lock", "--check").code == 0
    assert empty.run("install", "--locked").code == 0


def test_what_the_first_registry_has_is_never_asked_of_the_next(
    empty: Sandbox, corp: StaticServer, public: StaticServer
) -> None:
    lay(empty, corp, public, 'mail = "acme/mail@^1"', default='["corp", "public"]')
    assert empty.run("install").code == 0
    assert 'version = "1.0.0"' in empty.lock
    assert asked(public) == []


def test_a_range_that_the_first_registry_cannot_meet_is_no_reason_to_ask_the_next(
    empty: Sandbox, corp: StaticServer, public: StaticServer
) -> None:
    lay(empty, corp, public, 'mail = "acme/mail@^1.5"', default='["corp", "public"]')
    outcome = empty.run("lock")
    assert outcome.code == 1
    assert "1.0.0" in outcome.err
    assert asked(public) == []


SILENT: dict[str, tuple[str, tuple[int, dict[str, str], bytes], int]] = {
    "500": ("/index/acme/sql", (500, {}, b""), 6),
    "503": ("/index/acme/sql", (503, {"Retry-After": "9999"}, b""), 6),
    "403": ("/index/acme/sql", (403, {}, b""), 1),
    "410": ("/index/acme/sql", (410, {}, b""), 1),
    "451": ("/index/acme/sql", (451, {}, b""), 1),
    "cut": ("/index/acme/sql", (200, {"Content-Length": "99"}, b"{"), 6),
    "nonsense": ("/index/acme/sql", (200, {}, b"<html>\n"), 4),
    "another brick": ("/index/acme/sql", (200, {}, b'{"v":1}\n'), 4),
    "no registry": ("/config.json", (404, {}, b""), 1),
    "a newer registry": ("/config.json", (200, {}, b'{"v":9}'), 1),
}
"""What a first registry answers that is not: there is no such name."""


@pytest.mark.parametrize("answer", SILENT)
def test_a_registry_in_trouble_is_not_passed_over(
    answer: str, empty: Sandbox, corp: StaticServer, public: StaticServer
) -> None:
    lay(empty, corp, public, 'sql = "acme/sql@^1"', default='["corp", "public"]')
    path, corp.override[path], code = SILENT[answer]
    outcome = empty.run("lock")
    assert outcome.code == code, outcome.err
    assert asked(public) == []


def test_a_registry_that_nobody_answers_for_is_not_passed_over(empty: Sandbox, public: StaticServer) -> None:
    with StaticServer(empty.root) as gone:
        pass
    lay(empty, gone, public, 'sql = "acme/sql@^1"', default='["corp", "public"]')
    assert empty.run("lock").code == 6
    assert asked(public) == []


def test_without_a_network_nothing_is_concluded(empty: Sandbox, corp: StaticServer, public: StaticServer) -> None:
    publish(empty.root / "public-copy", entry("1.9.0", THEIRS), files=THEIRS)
    lay(empty, corp, public, 'sql = "acme/sql@^1"', default='["corp", "copy"]')
    empty.write({"brick.toml": empty.manifest.replace("[base]", 'copy = "./public-copy"\n\n[base]')})
    assert empty.run("lock", "--offline").code == 6
    assert empty.run("lock").code == 0


def test_a_name_that_the_first_registry_once_had_is_not_taken_from_the_next(
    empty: Sandbox, corp: StaticServer, public: StaticServer
) -> None:
    lay(empty, corp, public, 'mail = "acme/mail@^1"', default='["corp", "public"]')
    assert empty.run("lock").code == 0
    (empty.root / "corp/index/acme/mail").unlink()
    assert empty.run("update").code == 4
    assert asked(public) == []


def test_a_name_that_turns_up_in_an_earlier_registry_changes_nothing_until_an_update(
    empty: Sandbox, corp: StaticServer, public: StaticServer
) -> None:
    lay(empty, corp, public, 'sql = "acme/sql@^1"', default='["corp", "public"]')
    assert empty.run("lock").code == 0
    lock = empty.lock
    publish(empty.root / "corp", entry("1.9.0", OURS), files=OURS)
    for arguments in (["lock"], ["install"], ["lock", "--check"]):
        assert empty.run(*arguments).code == 0
        assert empty.lock == lock
    empty.write({"brick.toml": empty.manifest.replace("@^1", "@^1.1")})
    assert empty.run("lock").code == 0
    assert 'registry = "public"' in empty.lock
    outcome = empty.run("update")
    assert outcome.code == 0
    assert "updated  sql  1.9.0 in public -> 1.9.0 in corp" in outcome.out
    assert 'registry = "corp"' in empty.lock


def test_a_lock_with_a_registry_that_is_not_in_the_list_is_made_anew(
    empty: Sandbox, corp: StaticServer, public: StaticServer
) -> None:
    lay(empty, corp, public, 'sql = "acme/sql@^1"', default='["corp", "public"]')
    assert empty.run("lock").code == 0
    empty.write({"brick.lock": empty.lock.replace('registry = "public"', 'registry = "builtin"')})
    outcome = empty.run("lock", "--check")
    assert outcome.code == 3
    assert "is asked for with the registry corp, public; its entry in the lock has builtin" in outcome.err


def test_an_added_brick_is_looked_for_in_the_same_order(
    empty: Sandbox, corp: StaticServer, public: StaticServer
) -> None:
    lay(empty, corp, public, "", default='["corp", "public"]')
    assert empty.run("add", "acme/mail").code == 0
    assert empty.run("add", "acme/sql").code == 0
    assert 'mail = "acme/mail@^1.0.0"' in empty.manifest
    assert 'sql = "acme/sql@^1.9.0"' in empty.manifest
    outcome = empty.run("add", "acme/none")
    assert outcome.code == 1
    assert "none of the registries `corp`, `public` has a brick `acme/none`" in outcome.err


@pytest.mark.parametrize("value", ["[]", '["corp", "corp"]', '["corp", 1]', '["corp", "nobody"]', "3"])
def test_a_list_of_registries_is_names_that_differ(
    value: str, empty: Sandbox, corp: StaticServer, public: StaticServer
) -> None:
    lay(empty, corp, public, "", default=value)
    outcome = empty.run("lock")
    assert outcome.code == 2
    assert "brick.toml line 3" in outcome.err
    assert asked(public) == asked(corp) == []
