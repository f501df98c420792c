from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from brickctl.core.lock import Lock
from brickctl.core.lock_format import decode
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import BASE, Alias
from brickctl.core.staleness import echo, stale_reasons, standing

HERE = Path(__file__).parent
MANIFEST = (HERE / "brick.toml").read_text(encoding="utf-8")
LOCK = decode((HERE / "brick.lock").read_text(encoding="utf-8"))


def reasons(old: str, new: str) -> tuple[str, ...]:
    assert old in MANIFEST
    return stale_reasons(parse_manifest(MANIFEST.replace(old, new, 1)), LOCK)


def test_the_echo_of_the_example_is_what_its_lock_holds() -> None:
    assert echo(parse_manifest(MANIFEST)) == LOCK.manifest


def test_a_lock_of_the_same_manifest_is_not_stale() -> None:
    assert stale_reasons(parse_manifest(MANIFEST), LOCK) == ()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("acme/sql@^1.2", "acme/sql@^1.3", "`sql` wants ^1.3; the lock was made for ^1.2"),
        ("acme/sql@^1.2", "acme/sequel@^1.2", "`sql` comes from acme/sequel; the lock was made for acme/sql"),
        ('revision = "v2"', 'revision = "v3"', "`legal` wants revision v3; the lock was made for v2"),
        (
            "hf:acme/legal-lora",
            "hf:acme/law",
            "`legal` comes from hf:acme/law; the lock was made for hf:acme/legal-lora",
        ),
        (
            ', subfolder = "checkpoint-300"',
            "",
            "`legal` has no subfolder; the lock was made for checkpoint-300",
        ),
        (
            'path:bricks/date"',
            'path:bricks/date", kind = "adapter"',
            "`date` has the kind adapter; the lock was made for no kind",
        ),
        (', kind = "expert"', "", "`coder` has no kind; the lock was made for expert"),
        ('revision = "main"', 'revision = "dev"', "the base wants revision dev; the lock was made for main"),
        (
            'registry = "builtin"  ',
            'registry = "corp"  ',
            "`mail` is asked for in the registry corp; the lock was made for builtin",
        ),
        ("sql = ", "sequel = ", "`sequel` is in brick.toml and not in the lock"),
        (
            "https://bricks.corp.example/index",
            "https://other.example",
            "the registry `corp` is at https://other.example; the lock was made for https://bricks.corp.example/index",
        ),
    ],
)
def test_what_changed_is_said_in_a_sentence(old: str, new: str, reason: str) -> None:
    assert reason in reasons(old, new)


def test_a_brick_that_was_removed_is_named() -> None:
    assert reasons('sql = "acme/sql@^1.2"', "") == ("`sql` is in the lock and no longer in brick.toml",)


def test_a_brick_that_the_lock_only_speaks_of_is_missing() -> None:
    bricks = {name: entry for name, entry in LOCK.bricks.items() if name != "sql"}
    lock = Lock(base=LOCK.base, bricks=bricks, manifest=LOCK.manifest)
    assert stale_reasons(parse_manifest(MANIFEST), lock) == ("`sql` is in brick.toml and not in the lock",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"acme/sql@^1.2"', '"acme/sql@1.2"'),
        ('revision = "main"', ""),
        ('version = "1" ', 'version = "^1" '),
        ('"path:bricks/date"', '"path:./bricks/date/"'),
        ('"Apache-2.0"', '"apache-2.0"'),
        ("weight = 0.6", "weight = 0.7"),
        ("min = 0.9", "min = 0.8"),
    ],
)
def test_what_means_the_same_bytes_does_not_make_a_lock_stale(old: str, new: str) -> None:
    assert reasons(old, new) == ()


def test_entries_whose_words_did_not_change_stand() -> None:
    manifest = parse_manifest(MANIFEST.replace("acme/sql@^1.2", "acme/sql@^1.3"))
    assert list(standing(manifest, LOCK)) == ["base", "coder", "date", "legal", "mail"]


def test_another_address_of_a_registry_unsettles_the_bricks_that_come_from_it() -> None:
    manifest = parse_manifest(MANIFEST.replace("bricks.corp.example", "other.example"))
    assert list(standing(manifest, LOCK)) == ["base", "coder", "date", "legal", "mail"]


@pytest.mark.parametrize(
    ("alias", "change", "words"),
    [
        ("base", {"source": "hf:evil/base"}, "the base is asked for with the source hf:HuggingFaceTB/"),
        ("date", {"source": "path:other"}, "source path:bricks/date; its entry in the lock has path:other"),
        ("legal", {"subfolder": None}, "subfolder checkpoint-300; its entry in the lock has null"),
        ("sql", {"brick": "acme/mail"}, "brick acme/sql; its entry in the lock has acme/mail"),
        ("sql", {"registry": "builtin"}, "registry corp; its entry in the lock has builtin"),
        ("sql", {"version": "2.0.0"}, "version ^1.2; its entry in the lock has 2.0.0"),
        ("date", {"brick": "acme/x", "version": "1.0.0", "registry": "corp"}, "has acme/x"),
    ],
)
def test_an_entry_that_is_not_what_the_lock_says_it_was_made_for_is_stale(
    alias: Alias, change: dict[str, str | None], words: str
) -> None:
    """Somebody edited brick.lock, and left the echo as it was."""
    entry = LOCK.entries[alias]
    edited = {**LOCK.entries, alias: replace(entry, pin=replace(entry.pin, **change))}
    lock = replace(LOCK, base=edited.pop(BASE), bricks=edited)
    manifest = parse_manifest(MANIFEST)
    (reason,) = stale_reasons(manifest, lock)
    assert words in reason
    assert alias not in standing(manifest, lock)


def test_a_licence_or_kind_that_was_edited_in_the_lock_alone_is_stale() -> None:
    manifest = parse_manifest(MANIFEST)
    for alias, change in (("date", {"license": "MIT"}), ("coder", {"kind": "module"})):
        bricks = {**LOCK.bricks, Alias(alias): replace(LOCK.bricks[Alias(alias)], **change)}
        (reason,) = stale_reasons(manifest, replace(LOCK, bricks=bricks))
        assert f"`{alias}` is asked for with the {next(iter(change))}" in reason
