from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from brickctl.core.dependency import BrickDependency, Dependency, HubDependency
from brickctl.core.lock_format import decode, encode
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias
from brickctl.core.needs import edges
from brickctl.core.staleness import stale_reasons, standing

if TYPE_CHECKING:
    from brickctl.core.lock import Lock, Locked

HERE = Path(__file__).parent
MANIFEST = parse_manifest((HERE / "brick.toml").read_text(encoding="utf-8"))
LOCK = decode((HERE / "brick.lock").read_text(encoding="utf-8"))
SQL, MAIL, BASE = LOCK.bricks[Alias("sql")], LOCK.bricks[Alias("mail")], LOCK.base
EXPERT = Alias("corp:acme/expert")


def needing(*dependencies: Dependency, locked: tuple[Locked, ...] = ()) -> Lock:
    """The example, where `sql` needs something, and these are locked beside it."""
    bricks = {**LOCK.bricks, Alias("sql"): replace(SQL, dependencies=dependencies)}
    return replace(LOCK, bricks=bricks, dependencies={entry.alias: entry for entry in locked})


def expert(version: str = "1.0.0", registry: str = "corp", name: Alias = EXPERT) -> Locked:
    return replace(SQL, alias=name, pin=replace(SQL.pin, brick="acme/expert", version=version, registry=registry))


def test_needs_that_are_fulfilled_are_no_reason_to_lock_again() -> None:
    wanted = (
        BrickDependency(brick="acme/expert", version="^1"),
        HubDependency(source=BASE.pin.source, commit=str(BASE.pin.commit), is_base=True),
    )
    lock = needing(*wanted, locked=(expert(),))
    assert stale_reasons(MANIFEST, lock) == ()
    assert [found and found.alias for _, _, found in edges(lock)] == [EXPERT, "base"]
    assert decode(encode(lock)) == lock


@pytest.mark.parametrize(
    ("dependency", "locked", "reason"),
    [
        (BrickDependency(brick="acme/expert"), None, "`sql` needs acme/expert *, and nothing in the lock is that"),
        (BrickDependency(brick="acme/expert", version="^2"), expert(), "`sql` needs acme/expert ^2, and nothing"),
        (BrickDependency(brick="acme/expert"), expert(registry="builtin"), "`sql` needs acme/expert *, and nothing"),
        (BrickDependency(brick="acme/expert"), expert(name=Alias("corp:acme/x")), "`corp:acme/x` in the lock is corp:"),
        (HubDependency(source="hf:acme/base", commit="0" * 40, is_base=True), None, "`sql` needs hf:acme/base at 0000"),
        (HubDependency(source=BASE.pin.source, commit=str(BASE.pin.commit)), None, "`sql` needs hf:Hugging"),
        (None, expert(), "`corp:acme/expert` is in the lock, and nothing needs it"),
    ],
)
def test_a_lock_that_contradicts_itself_about_needs_is_stale(
    dependency: Dependency | None, locked: Locked | None, reason: str
) -> None:
    lock = needing(*([dependency] if dependency else []), locked=(locked,) if locked else ())
    assert stale_reasons(MANIFEST, lock)[0].startswith(reason)


def test_what_is_needed_stands_while_its_registry_is_where_it_was() -> None:
    lock = needing(BrickDependency(brick="acme/expert"), locked=(expert(),))
    assert EXPERT in standing(MANIFEST, lock)
    moved = replace(MANIFEST, registries={"corp": "https://elsewhere.example"})
    assert EXPERT not in standing(moved, lock)


def test_what_brick_toml_names_fulfils_a_need() -> None:
    lock = needing(BrickDependency(brick="acme/mail"))
    mail = replace(MAIL, pin=replace(MAIL.pin, registry="corp"))
    (edge,) = edges(replace(lock, bricks={**lock.bricks, mail.alias: mail}))
    assert edge[2] is not None
    assert edge[2].alias == "mail"
