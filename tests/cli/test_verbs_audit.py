"""`outdated`, `why`, `licenses`, `audit` and `update --precise` on a project whose bricks come from registries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tomli

from tests.support.hub import Hub
from tests.support.stage import Stage

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

SCENARIO: dict[str, Any] = tomli.loads("""
bricks = 'sql = "acme/sql@^1"'
more = '''
[targets.assistant]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }]
'''
[index]
"corp:acme/expert 1.0.0" = { kind = "expert" }
"corp:acme/sql 1.0.0" = { needs = ["acme/expert ^1"] }
""")


@pytest.fixture
def stage(empty: Sandbox) -> Stage:
    """A project with a locked brick that needs another one."""
    stage = Stage(empty)
    stage.set_up(SCENARIO)
    assert stage.run("lock").code == 0
    return stage


def rules(stage: Stage, *arguments: str) -> list[tuple[str, str, str]]:
    outcome = stage.run("audit", "--json", *arguments)
    found = [(one["level"], one["rule"], one["brick"]) for one in outcome.json["findings"]]
    errors = any(level == "error" for level, _, _ in found)
    assert outcome.code == (5 if errors else 0)
    return found


def test_nothing_is_outdated_until_something_newer_comes(stage: Stage) -> None:
    assert stage.run("outdated").out == "every brick is at the newest\n"
    stage.change({"index": {"corp:acme/sql 1.1.0": {}, "corp:acme/sql 2.0.0": {}, "corp:acme/sql 3.0.0-rc.1": {}}})
    before = stage.sandbox.lock
    (sql, expert) = stage.run("outdated", "--json").json["outdated"]
    assert sql == {"name": "sql", "locked": "1.0.0", "update": "1.1.0", "newest": "2.0.0", "origin": "corp:acme/sql"}
    assert (expert["name"], expert["update"]) == ("corp:acme/expert", None), "1.1.0 does not need it any more"
    assert stage.run("outdated").lines[1].split() == ["sql", "1.0.0", "1.1.0", "2.0.0", "corp:acme/sql"]
    assert stage.sandbox.lock == before


def test_what_can_no_longer_be_updated_is_told_and_stays_listed(stage: Stage) -> None:
    more = {"corp:acme/sql 1.0.0": {"needs": ["acme/expert ^1"], "yanked": True}, "corp:acme/sql 2.0.0": {}}
    stage.change({"index": more})
    outcome = stage.run("outdated")
    assert outcome.code == 0
    assert "warning: `brickctl update` would fail: no version of `acme/sql` is in `^1`." in outcome.err
    assert outcome.lines[1].split() == ["sql", "1.0.0", "1.0.0", "2.0.0", "corp:acme/sql"]


def test_why_follows_needs_up_to_a_line_and_down_to_targets(stage: Stage) -> None:
    expert, sql = stage.run("why", "acme/expert", "--json").json["bricks"]
    assert (expert["name"], expert["version"]) == ("corp:acme/expert", "1.0.0")
    assert expert["reasons"] == [{"by": "sql", "words": "acme/expert ^1"}]
    assert [reason["by"] for reason in sql["reasons"]] == ["brick.toml line 12", "[targets.assistant] apply[0]"]
    assert stage.run("why", "sql").lines == [
        "sql  1.0.0",
        "  brick.toml line 12: acme/sql@^1",
        "  [targets.assistant] apply[0]: merge",
    ]
    missing = stage.run("why", "acme/sqll")
    assert (missing.code, "did you mean `acme/sql`?" in missing.err) == (1, True)


def test_what_is_needed_is_listed_behind_what_is_named(stage: Stage) -> None:
    listed = stage.run("list", "--json").json["bricks"]
    assert [one["name"] for one in listed] == ["base", "sql", "corp:acme/expert"]
    assert (listed[2]["version"], listed[2]["source"]) == ("1.0.0", "acme/expert in corp")
    assert "corp:acme/expert" not in stage.run("tree").out


def test_one_brick_is_taken_to_one_version_and_back(stage: Stage) -> None:
    stage.change(
        {"index": {"corp:acme/sql 1.1.0": {}, "corp:acme/sql 1.2.0": {}, "corp:acme/sql 1.3.0": {"yanked": True}}}
    )
    assert stage.run("update", "sql", "--precise", "1.1.0").code == 0
    assert stage.locked() == {"sql": "1.1.0"}
    assert stage.run("lock").code == 0
    assert stage.locked() == {"sql": "1.1.0"}
    for version, code, words in [
        ("2.0.0", 2, "2.0.0 is not in `^1`"),
        ("1.9.0", 1, "registry `corp` does not have it"),
        ("1.3.0", 1, "acme/sql 1.3.0 is yanked"),
        ("new", 2, "`new` is no version"),
    ]:
        outcome = stage.run("update", "sql", "--precise", version)
        assert (outcome.code, words in outcome.err) == (code, True), outcome.err
        assert stage.locked() == {"sql": "1.1.0"}
    assert "a folder, and has no versions" in stage.run("update", "base", "--precise", "1.0.0").err
    assert stage.run("update", "--precise", "1.0.0").code == 2


def test_a_repository_is_taken_to_one_commit(empty: Sandbox) -> None:
    with Hub() as hub:
        stage = Stage(empty, hub)
        stage.set_up({"bricks": 'legal = { source = "hf:acme/legal" }', "hub": {"acme/legal@v1": {}}})
        stage.change({"hub": {"acme/legal@main": {"bytes": "second"}}})
        assert stage.run("lock").code == 0
        assert stage.locked() == {"legal": "acme/legal@main"}
        for wanted in (stage.commits["acme/legal@v1"], "v1"):
            assert stage.run("update", "legal").code == 0
            assert stage.run("update", "legal", "--precise", wanted).code == 0
            assert stage.locked() == {"legal": "acme/legal@v1"}


def test_a_lock_without_faults_passes(stage: Stage) -> None:
    outcome = stage.run("audit")
    assert outcome.code == 0
    assert outcome.lines == [
        "warning (license-unknown): `base`: nobody says under which licence it is",
        "  hint: ask its author, then write `license = ...` beside it in brick.toml",
    ]
    assert stage.run("audit", "--strict").code == 5


def test_what_was_yanked_is_a_warning(stage: Stage) -> None:
    stage.change({"index": {"corp:acme/sql 1.0.0": {"needs": ["acme/expert ^1"], "yanked": True}}})
    assert ("warning", "yanked", "sql") in rules(stage)


def test_an_advisory_is_an_error_for_the_brick_and_for_its_bytes_elsewhere(stage: Stage) -> None:
    digest = next(e for e in tomli.loads(stage.sandbox.lock)["dependency"])["digest"]
    advisories = [
        {
            "id": "ACME-1",
            "summary": "a backdoor",
            "brick": "acme/sql",
            "versions": "<1.0.1",
            "url": "https://acme.example/1",
        },
        {"id": "OTHER-7", "summary": "stolen", "digests": [digest]},
    ]
    for registry, found in zip(("corp", "other"), advisories, strict=True):
        text = json.dumps({"v": 1, "advisories": [found]})
        stage.sandbox.write({"advisories.json": text}, f"registries/{registry}")
    assert [one for one in rules(stage) if one[0] == "error"] == [
        ("error", "advisory", "corp:acme/expert"),
        ("error", "advisory", "sql"),
    ]
    told = stage.run("audit")
    assert "ACME-1 of registry `corp`: a backdoor" in told.out
    assert "see https://acme.example/1" in told.out
    assert "error: 2 things in brick.lock must not be used" in told.err


def test_advisories_that_cannot_be_read_fail_the_audit(stage: Stage) -> None:
    stage.sandbox.write({"advisories.json": "{}"}, "registries/corp")
    outcome = stage.run("audit")
    assert outcome.code == 4
    assert "`v` in" in outcome.err


def test_licences_that_do_not_go_together_are_an_error_where_a_target_puts_them_together(stage: Stage) -> None:
    stage.edit('source = "path:base"', 'source = "path:base"\nlicense = "CC-BY-NC-4.0"')
    stage.change({"index": {"corp:acme/sql 1.1.0": {"license": "GPL-3.0-only"}}})
    assert stage.run("update").code == 0
    assert ("error", "license-conflict", "base") in rules(stage)
    told = stage.run("licenses", "--json").json
    assert told["bricks"] == [{"name": "base", "license": "CC-BY-NC-4.0"}, {"name": "sql", "license": "GPL-3.0-only"}]
    (target,) = told["targets"]
    assert (target["target"], target["license"]) == ("assistant", "CC-BY-NC-4.0 AND GPL-3.0-only")
    assert "limits commercial use" in target["clashes"][0]["reason"]
    assert "warning: `base` and `sql` in [targets.assistant]" in stage.run("licenses").err


def test_a_rule_that_came_after_the_lock_is_an_error(stage: Stage) -> None:
    stage.edit("[targets.assistant]", '[policy]\nlicenses = ["Apache-2.0", "unknown"]\n\n[targets.assistant]')
    assert ("error", "policy", "") in rules(stage)


def test_files_that_changed_and_pickles_beside_them_are_found(stage: Stage) -> None:
    stage.sandbox.write({"pytorch_model.bin": b"x", "modeling.py": b"x"}, "base")
    assert ("warning", "unsafe", "base") in rules(stage)
    assert "beside it lies modeling.py and 1 more, which runs code" in stage.run("audit").out
    stage.sandbox.write({"config.json": "{}"}, "base")
    assert ("error", "unsafe", "base") in rules(stage)


def test_a_version_that_is_gone_from_the_registry_is_told(stage: Stage) -> None:
    (stage.sandbox.root / "registries/corp/index/acme/expert").unlink()
    assert ("error", "registry", "corp:acme/expert") in rules(stage), "it was seen there: nothing published may go away"
    for path in (stage.sandbox.home / "cache/registries/seen").iterdir():
        path.unlink()
    assert ("warning", "registry", "corp:acme/expert") in rules(stage), "a registry that was never seen with it"


def test_a_base_that_moved_since_a_brick_was_made_is_a_warning(empty: Sandbox) -> None:
    with Hub() as hub:
        stage = Stage(empty, hub)
        stage.set_up({"base": 'source = "hf:acme/base"', "hub": {"acme/base@v1": {"kind": "base"}}})
        stage.change({"hub": {"acme/base@main": {"kind": "base", "bytes": "second"}}})
        stage.change({"index": {"corp:acme/sql 1.0.0": {"base": "acme/base@v1"}}})
        assert stage.run("add", "acme/sql").code == 0
        assert ("warning", "base-drift", "sql") in rules(stage)
        stage.edit('source = "hf:acme/base"', 'source = "hf:acme/base"\nrevision = "v1"')
        assert stage.run("lock").code == 0
        assert ("warning", "base-drift", "sql") not in rules(stage)


@pytest.mark.parametrize("verb", ["outdated", "audit", "licenses"])
def test_without_a_lock_the_verb_says_what_comes_first(verb: str, stage: Stage) -> None:
    (stage.sandbox.root / "brick.lock").unlink()
    outcome = stage.run(verb)
    assert outcome.code == 1
    assert "there is no brick.lock" in outcome.err
    assert "hint: run `brickctl lock`" in outcome.err
